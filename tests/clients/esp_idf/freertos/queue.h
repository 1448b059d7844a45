typedef struct Queue *QueueHandle_t;
QueueHandle_t xQueueCreate(unsigned length, unsigned size);
BaseType_t xQueueSend(QueueHandle_t queue, const void *item, TickType_t ticks);
BaseType_t xQueueReceive(QueueHandle_t queue, void *item, TickType_t ticks);
