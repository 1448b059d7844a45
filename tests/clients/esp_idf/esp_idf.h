#ifndef ESP_IDF_H
#define ESP_IDF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
typedef int esp_err_t;
#define ESP_ERROR_CHECK(call) do { esp_err_t error_ = (call); (void)error_; } while (0)
typedef const char *esp_event_base_t;
typedef void (*esp_event_handler_t)(void *argument, esp_event_base_t base, int32_t id, void *data);
#define ESP_EVENT_ANY_ID -1
#endif
