/* examples/esp32/main/toy.c on this machine: its connection, button, microphone and speaker are lines.
 *
 * In: "connected", "received TOPIC HEX", "button 0|1", "heard HEX" (samples), "played".
 * Out: "publish 0|1 TOPIC HEX", "play begin", "play HEX", "play end", "play stop", "volume N", "ready". */
#include "toy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_hex(const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t at = 0; at < size; at++) {
        printf("%02x", bytes[at]);
    }
    printf("\n");
    fflush(stdout);
}

void toy_port_publish(const char *topic, const void *data, size_t size, bool is_retained) {
    printf("publish %d %s ", is_retained, topic);
    print_hex(data, size);
}

void toy_port_play_begin(void) {
    printf("play begin\n");
    fflush(stdout);
}

void toy_port_play(const uint8_t *mp3, size_t size) {
    printf("play ");
    print_hex(mp3, size);
}

void toy_port_play_end(void) {
    printf("play end\n");
    fflush(stdout);
}

void toy_port_play_stop(void) {
    printf("play stop\n");
    fflush(stdout);
}

void toy_port_set_volume(int percent) {
    printf("volume %d\n", percent);
    fflush(stdout);
}

static size_t bytes_of(char *hex) {
    size_t size = 0;
    for (unsigned byte; sscanf(hex + 2 * size, "%2x", &byte) == 1; size++) {
        hex[size] = (char)byte;
    }
    return size;
}

int main(int count, char **arguments) {
    static char line[256 * 1024];
    if (count != 2) {
        return 2;
    }
    toy_init(arguments[1], 50);
    for (int number = 0; toy_filter(number); number++) {
        printf("subscribe %s\n", toy_filter(number));
    }
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        char *word = strtok(line, " ");
        char *first = strtok(NULL, " ");
        char *second = strtok(NULL, " ");
        if (!word) {
            continue;
        } else if (strcmp(word, "connected") == 0) {
            toy_connected();
        } else if (strcmp(word, "disconnected") == 0) {
            toy_disconnected();
        } else if (strcmp(word, "played") == 0) {
            toy_played();
        } else if (strcmp(word, "button") == 0 && first) {
            toy_button(first[0] == '1');
        } else if (strcmp(word, "heard") == 0 && first) {
            size_t size = bytes_of(first);
            /* Aligned, as samples are. */
            static int16_t samples[64 * 1024];
            memcpy(samples, first, size);
            toy_heard(samples, size / 2);
        } else if (strcmp(word, "received") == 0 && first) {
            size_t size = second ? bytes_of(second) : 0;
            /* A copy of its own size, so that a sanitiser notices every byte that is read beyond it. */
            uint8_t *data = malloc(size ? size : 1);
            memcpy(data, second ? second : "", size);
            toy_received(first, strlen(first), data, size);
            free(data);
        }
    }
    return 0;
}
