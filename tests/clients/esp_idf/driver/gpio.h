#include "../esp_idf.h"
typedef enum { GPIO_MODE_INPUT = 1 } gpio_mode_t;
typedef enum { GPIO_PULLUP_ENABLE = 1 } gpio_pullup_t;
typedef struct { uint64_t pin_bit_mask; gpio_mode_t mode; gpio_pullup_t pull_up_en; } gpio_config_t;
esp_err_t gpio_config(const gpio_config_t *config);
int gpio_get_level(int pin);
