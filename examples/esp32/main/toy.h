/* A toy over MQTT, docs/mqtt.md: what it says and does, without any hardware. It needs no operating system and no heap.
 *
 * All functions are called by one task, and call those of `toy_port_…`, which a board provides. */
#ifndef TOY_H
#define TOY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Samples of the microphone: 16 bits, one channel. */
#define TOY_MICROPHONE_HZ 16000

/* The toy is this one, as /open_toy names it: 24 digits. */
void toy_init(const char *id, int volume);
/* The three filters that the board subscribes to at QoS 1, one after the other; NULL after the last one. */
const char *toy_filter(int number);
/* The connection is open, and the filters are subscribed to. */
void toy_connected(void);
/* The connection is lost. */
void toy_disconnected(void);
/* A message has come, whole. */
void toy_received(const char *topic, size_t topic_size, const uint8_t *data, size_t size);
/* The button is pressed or released. Between the two, the board calls toy_heard. */
void toy_button(bool is_pressed);
/* So many samples of the microphone. */
void toy_heard(const int16_t *samples, size_t count);
/* The board has played all that it was given since toy_port_play_begin. */
void toy_played(void);

/* Publishes at QoS 1. It may keep the message until there is a connection. */
void toy_port_publish(const char *topic, const void *data, size_t size, bool is_retained);
/* A sound begins: an MP3 file, in pieces. It may wait in toy_port_play until there is room for more. */
void toy_port_play_begin(void);
void toy_port_play(const uint8_t *mp3, size_t size);
/* The sound is complete: once it is played, the board calls toy_played. */
void toy_port_play_end(void);
/* The sound ends now. toy_played is not called. */
void toy_port_play_stop(void);
/* From 0 to 100. */
void toy_port_set_volume(int percent);

#endif
