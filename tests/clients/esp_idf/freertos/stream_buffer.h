typedef struct StreamBuffer *StreamBufferHandle_t;
StreamBufferHandle_t xStreamBufferCreate(size_t size, size_t trigger);
size_t xStreamBufferSend(StreamBufferHandle_t buffer, const void *data, size_t size, TickType_t ticks);
size_t xStreamBufferReceive(StreamBufferHandle_t buffer, void *data, size_t size, TickType_t ticks);
BaseType_t xStreamBufferIsEmpty(StreamBufferHandle_t buffer);
