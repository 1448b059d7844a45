#include "esp_idf.h"
esp_err_t nvs_flash_init(void);
