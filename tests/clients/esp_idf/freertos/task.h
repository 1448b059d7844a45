typedef void *TaskHandle_t;
BaseType_t xTaskCreate(void (*task)(void *), const char *name, uint32_t stack, void *argument, unsigned priority, TaskHandle_t *handle);
