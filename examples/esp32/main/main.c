/* A board with an ESP32-S3, a microphone and an amplifier on I2S, and a button: the ports of toy.c on ESP-IDF 5.
 *
 * Three tasks: ESP-IDF's own ones bring messages and connect; `toy_task` alone calls toy.c, one event after the other;
 * `speaker_task` decodes MP3 and plays it. */
#include <stdlib.h>
#include <string.h>

#include "driver/gpio.h"
#include "driver/i2s_std.h"
#include "esp_event.h"
#include "esp_log.h"
#include "esp_netif.h"
#include "esp_wifi.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"
#include "freertos/stream_buffer.h"
#include "freertos/task.h"
#include "mp3dec.h"
#include "mqtt_client.h"
#include "nvs_flash.h"
#include "sdkconfig.h"

#include "toy.h"

#define PIN_BUTTON CONFIG_TOY_PIN_BUTTON
#define PIN_MICROPHONE_CLOCK CONFIG_TOY_PIN_MICROPHONE_CLOCK
#define PIN_MICROPHONE_WORD CONFIG_TOY_PIN_MICROPHONE_WORD
#define PIN_MICROPHONE_DATA CONFIG_TOY_PIN_MICROPHONE_DATA
#define PIN_SPEAKER_CLOCK CONFIG_TOY_PIN_SPEAKER_CLOCK
#define PIN_SPEAKER_WORD CONFIG_TOY_PIN_SPEAKER_WORD
#define PIN_SPEAKER_DATA CONFIG_TOY_PIN_SPEAKER_DATA

/* The hub's sounds. */
#define SPEAKER_HZ 24000
#define SPEAKER_BYTES (16 * 1024)
/* Samples of the microphone at once: 32 ms. */
#define HEARD_MAX 512
#define MESSAGE_MAX (8 * 1024)

static const char *TAG = "toy";

enum kind { CONNECTED, DISCONNECTED, RECEIVED, PLAYED };

struct event {
    enum kind kind;
    char *topic;
    size_t topic_size;
    uint8_t *data;
    size_t size;
};

static QueueHandle_t events;
static StreamBufferHandle_t to_speaker;
static esp_mqtt_client_handle_t client;
static i2s_chan_handle_t microphone, speaker;
/* Whether the sound in the buffer is complete, and whether it is to be thrown away. */
static volatile bool is_complete, is_stopped;
static volatile int volume_percent = 50;

/* The ports of toy.c */

void toy_port_publish(const char *topic, const void *data, size_t size, bool is_retained) {
    /* It is kept, and sent again, until the hub has acknowledged it. */
    if (esp_mqtt_client_enqueue(client, topic, data, (int)size, 1, is_retained, true) < 0) {
        ESP_LOGW(TAG, "no room for a message");
    }
}

void toy_port_play_begin(void) {
    is_complete = false;
    is_stopped = false;
}

void toy_port_play(const uint8_t *mp3, size_t size) {
    while (size > 0 && !is_stopped) {
        size_t sent = xStreamBufferSend(to_speaker, mp3, size, pdMS_TO_TICKS(100));
        mp3 += sent;
        size -= sent;
    }
}

void toy_port_play_end(void) {
    is_complete = true;
}

void toy_port_play_stop(void) {
    is_stopped = true;
}

void toy_port_set_volume(int percent) {
    volume_percent = percent;
}

/* The speaker */

static void speaker_task(void *unused) {
    static uint8_t mp3[2 * MAINBUF_SIZE];
    static short samples[MAX_NCHAN * MAX_NGRAN * MAX_NSAMP];
    HMP3Decoder decoder = MP3InitDecoder();
    size_t filled = 0;
    bool is_playing = false;
    (void)unused;
    for (;;) {
        filled += xStreamBufferReceive(to_speaker, mp3 + filled, sizeof mp3 - filled, pdMS_TO_TICKS(20));
        if (is_stopped) {
            filled = 0;
            is_playing = false;
            continue;
        }
        is_playing = is_playing || filled > 0;
        int start = MP3FindSyncWord(mp3, (int)filled);
        unsigned char *next = start < 0 ? mp3 : mp3 + start;
        int left = start < 0 ? 0 : (int)filled - start;
        bool is_short = left < MAINBUF_SIZE && !(is_complete && left > 0);
        if (!is_short && MP3Decode(decoder, &next, &left, samples, 0) == ERR_MP3_NONE) {
            MP3FrameInfo info;
            MP3GetLastFrameInfo(decoder, &info);
            for (int at = 0; at < info.outputSamps; at++) {
                samples[at] = (short)(samples[at] * volume_percent / 100);
            }
            size_t written;
            i2s_channel_write(speaker, samples, (size_t)info.outputSamps * sizeof samples[0], &written, portMAX_DELAY);
        } else if (!is_short) {
            /* Damage, or the rest at the end. */
            left = is_complete ? 0 : left - 1;
            next++;
        }
        if (start >= 0) {
            memmove(mp3, next, (size_t)left);
            filled = (size_t)left;
        } else if (filled == sizeof mp3) {
            filled = 0;
        }
        if (is_playing && is_complete && filled == 0 && xStreamBufferIsEmpty(to_speaker)) {
            struct event played = {.kind = PLAYED};
            is_playing = false;
            is_complete = false;
            xQueueSend(events, &played, portMAX_DELAY);
        }
    }
}

/* The connection */

static void post_message(const esp_mqtt_event_t *event) {
    /* A message that does not fit into the buffer of the client comes in parts: none of the hub's does. */
    if (event->current_data_offset != 0 || event->data_len != event->total_data_len) {
        ESP_LOGW(TAG, "a message is too long");
        return;
    }
    struct event received = {.kind = RECEIVED, .topic_size = (size_t)event->topic_len, .size = (size_t)event->data_len};
    received.topic = malloc(received.topic_size + received.size + 1);
    if (!received.topic) {
        return;
    }
    received.data = (uint8_t *)received.topic + received.topic_size;
    memcpy(received.topic, event->topic, received.topic_size);
    memcpy(received.data, event->data, received.size);
    if (xQueueSend(events, &received, portMAX_DELAY) != pdTRUE) {
        free(received.topic);
    }
}

static void on_mqtt(void *unused, esp_event_base_t base, int32_t id, void *data) {
    esp_mqtt_event_handle_t event = data;
    struct event posted = {.kind = id == MQTT_EVENT_CONNECTED ? CONNECTED : DISCONNECTED};
    (void)unused;
    (void)base;
    switch ((esp_mqtt_event_id_t)id) {
    case MQTT_EVENT_CONNECTED:
        for (int number = 0; toy_filter(number); number++) {
            esp_mqtt_client_subscribe(client, toy_filter(number), 1);
        }
        xQueueSend(events, &posted, portMAX_DELAY);
        break;
    case MQTT_EVENT_DISCONNECTED:
        xQueueSend(events, &posted, portMAX_DELAY);
        break;
    case MQTT_EVENT_DATA:
        post_message(event);
        break;
    default:
        break;
    }
}

static void on_network(void *unused, esp_event_base_t base, int32_t id, void *data) {
    (void)unused;
    (void)data;
    if (base == WIFI_EVENT && (id == WIFI_EVENT_STA_START || id == WIFI_EVENT_STA_DISCONNECTED)) {
        esp_wifi_connect();
    }
}

static void connect_network(void) {
    ESP_ERROR_CHECK(nvs_flash_init());
    ESP_ERROR_CHECK(esp_netif_init());
    ESP_ERROR_CHECK(esp_event_loop_create_default());
    esp_netif_create_default_wifi_sta();
    wifi_init_config_t init = WIFI_INIT_CONFIG_DEFAULT();
    ESP_ERROR_CHECK(esp_wifi_init(&init));
    ESP_ERROR_CHECK(esp_event_handler_register(WIFI_EVENT, ESP_EVENT_ANY_ID, on_network, NULL));
    wifi_config_t wifi = {.sta = {.ssid = CONFIG_TOY_WIFI_NAME, .password = CONFIG_TOY_WIFI_PASSWORD}};
    ESP_ERROR_CHECK(esp_wifi_set_mode(WIFI_MODE_STA));
    ESP_ERROR_CHECK(esp_wifi_set_config(WIFI_IF_STA, &wifi));
    ESP_ERROR_CHECK(esp_wifi_start());
}

static void connect_hub(void) {
    esp_mqtt_client_config_t config = {
        .broker.address.uri = CONFIG_TOY_HUB,
        .credentials.username = CONFIG_TOY_DEVICE_KEY,
        .credentials.authentication.password = CONFIG_TOY_SECRET,
        .credentials.client_id = CONFIG_TOY_ID,
        /* The session keeps commands while the toy is off. */
        .session.disable_clean_session = true,
        .buffer.size = MESSAGE_MAX,
    };
    client = esp_mqtt_client_init(&config);
    ESP_ERROR_CHECK(esp_mqtt_client_register_event(client, ESP_EVENT_ANY_ID, on_mqtt, NULL));
    ESP_ERROR_CHECK(esp_mqtt_client_start(client));
}

/* Button and microphone */

static void open_sound(void) {
    i2s_chan_config_t channel = I2S_CHANNEL_DEFAULT_CONFIG(I2S_NUM_0, I2S_ROLE_MASTER);
    ESP_ERROR_CHECK(i2s_new_channel(&channel, NULL, &microphone));
    i2s_std_config_t in = {
        .clk_cfg = I2S_STD_CLK_DEFAULT_CONFIG(TOY_MICROPHONE_HZ),
        .slot_cfg = I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(I2S_DATA_BIT_WIDTH_16BIT, I2S_SLOT_MODE_MONO),
        .gpio_cfg = {
            .mclk = I2S_GPIO_UNUSED, .bclk = PIN_MICROPHONE_CLOCK, .ws = PIN_MICROPHONE_WORD,
            .dout = I2S_GPIO_UNUSED, .din = PIN_MICROPHONE_DATA,
        },
    };
    ESP_ERROR_CHECK(i2s_channel_init_std_mode(microphone, &in));
    ESP_ERROR_CHECK(i2s_channel_enable(microphone));
    channel.id = I2S_NUM_1;
    ESP_ERROR_CHECK(i2s_new_channel(&channel, &speaker, NULL));
    i2s_std_config_t out = {
        .clk_cfg = I2S_STD_CLK_DEFAULT_CONFIG(SPEAKER_HZ),
        .slot_cfg = I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(I2S_DATA_BIT_WIDTH_16BIT, I2S_SLOT_MODE_MONO),
        .gpio_cfg = {
            .mclk = I2S_GPIO_UNUSED, .bclk = PIN_SPEAKER_CLOCK, .ws = PIN_SPEAKER_WORD,
            .dout = PIN_SPEAKER_DATA, .din = I2S_GPIO_UNUSED,
        },
    };
    ESP_ERROR_CHECK(i2s_channel_init_std_mode(speaker, &out));
    ESP_ERROR_CHECK(i2s_channel_enable(speaker));
    gpio_config_t button = {.pin_bit_mask = 1ULL << PIN_BUTTON, .mode = GPIO_MODE_INPUT, .pull_up_en = GPIO_PULLUP_ENABLE};
    ESP_ERROR_CHECK(gpio_config(&button));
}

static void take(struct event *event) {
    switch (event->kind) {
    case CONNECTED:
        toy_connected();
        break;
    case DISCONNECTED:
        toy_disconnected();
        break;
    case RECEIVED:
        toy_received(event->topic, event->topic_size, event->data, event->size);
        free(event->topic);
        break;
    case PLAYED:
        toy_played();
        break;
    }
}

static void toy_task(void *unused) {
    static int16_t samples[HEARD_MAX];
    bool is_pressed = false;
    (void)unused;
    for (;;) {
        struct event event;
        /* The microphone is read all the time, so that a recording begins with what is said now. */
        size_t size = 0;
        i2s_channel_read(microphone, samples, sizeof samples, &size, portMAX_DELAY);
        bool is_down = gpio_get_level(PIN_BUTTON) == 0;
        if (is_down != is_pressed) {
            is_pressed = is_down;
            toy_button(is_pressed);
        }
        toy_heard(samples, size / sizeof samples[0]);
        while (xQueueReceive(events, &event, 0) == pdTRUE) {
            take(&event);
        }
    }
}

void app_main(void) {
    events = xQueueCreate(32, sizeof(struct event));
    to_speaker = xStreamBufferCreate(SPEAKER_BYTES, 1);
    open_sound();
    toy_init(CONFIG_TOY_ID, volume_percent);
    connect_network();
    connect_hub();
    xTaskCreate(speaker_task, "speaker", 8192, NULL, 6, NULL);
    xTaskCreate(toy_task, "toy", 8192, NULL, 5, NULL);
}
