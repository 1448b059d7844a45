#include "toy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sounds that wait to be played; what comes when the list is full stays unread at the hub. */
#define SOUNDS_MAX 16
/* Bytes of a piece of a sound, in both directions. */
#define PIECE_BYTES 2048
#define NAME_SIZE 80
#define ID_SIZE 25
#define TEXT_SIZE 320
/* Events may come twice: so many ids are known. */
#define SEEN_MAX 16
/* How much "louder" and "softer" change the volume. */
#define VOLUME_STEP 15

/* A sound that is fetched and played. */
struct sound {
    char name[NAME_SIZE];
    bool is_music;
    /* The message that it is, and its sender: empty for any other sound. */
    char message[ID_SIZE], from[ID_SIZE];
};

static struct {
    char id[ID_SIZE];
    int volume;
    char filters[3][64];
    struct sound sounds[SOUNDS_MAX];
    size_t waiting;
    char seen[SEEN_MAX][ID_SIZE];
    size_t seen_next;
    /* The sound that is played: its next piece, and the number of pieces, once it is known. */
    bool is_playing;
    long next, count;
    /* The number of the last request, and of those that are not answered. */
    long number, asked_file, asked_answer;
    /* The recording: its number, the pieces that were sent, and the samples of the next one. */
    bool is_recording;
    unsigned uploads;
    long pieces;
    uint8_t piece[PIECE_BYTES];
    size_t filled;
    /* The friend to whom the next recording goes. */
    char friend_id[ID_SIZE];
} toy;

/* JSON: the value of a name, at any depth. The hub's names and ids have no characters that would be escaped. */

static const char *json_find(const char *json, size_t size, const char *name) {
    size_t length = strlen(name);
    bool is_inside = false;
    for (size_t at = 0; at < size; at++) {
        if (is_inside && json[at] == '\\') {
            at++;
        } else if (json[at] == '"') {
            bool begins = !is_inside;
            is_inside = begins;
            if (begins && size - at > length + 3 && memcmp(json + at + 1, name, length) == 0 && json[at + length + 1] == '"' &&
                json[at + length + 2] == ':') {
                return json + at + length + 3;
            }
        }
    }
    return NULL;
}

static bool json_text(const char *json, size_t size, const char *name, char *text, size_t text_size) {
    text[0] = '\0';
    const char *value = json_find(json, size, name);
    const char *end = json + size;
    if (!value || value == end || *value != '"') {
        return false;
    }
    size_t length = 0;
    for (value++; value < end && *value != '"'; value++) {
        if (*value == '\\' || length + 1 >= text_size) {
            text[0] = '\0';
            return false;
        }
        text[length++] = *value;
    }
    text[length] = '\0';
    return value < end;
}

static bool json_number(const char *json, size_t size, const char *name, long *number) {
    const char *value = json_find(json, size, name);
    const char *end = json + size;
    char digits[12];
    size_t length = 0;
    while (value && value + length < end && length + 1 < sizeof digits && value[length] >= '0' && value[length] <= '9') {
        digits[length] = value[length];
        length++;
    }
    digits[length] = '\0';
    *number = strtol(digits, NULL, 10);
    return length > 0;
}

/* Requests */

static void publish(const char *channel, const void *data, size_t size, bool is_retained) {
    char topic[96];
    snprintf(topic, sizeof topic, "toy/%s/%s", toy.id, channel);
    toy_port_publish(topic, data, size, is_retained);
}

/* Sends a request, and gives its number. */
static long ask(const char *fields) {
    char text[TEXT_SIZE];
    int size = snprintf(text, sizeof text, "{\"id\":%ld,%s}", ++toy.number, fields);
    if (size > 0 && (size_t)size < sizeof text) {
        publish("out", text, (size_t)size, false);
    }
    return toy.number;
}

static void report_volume(void) {
    char text[8];
    int size = snprintf(text, sizeof text, "%d", toy.volume);
    publish("state/volume", text, (size_t)size, true);
}

static void set_volume(int volume) {
    toy.volume = volume < 0 ? 0 : volume > 100 ? 100 : volume;
    toy_port_set_volume(toy.volume);
    report_volume();
}

/* Sounds */

static void ask_piece(void) {
    char fields[TEXT_SIZE];
    const struct sound *sound = &toy.sounds[0];
    snprintf(fields, sizeof fields, "\"do\":\"get_file\",\"name\":\"%s\",\"kind\":\"%s\",\"chunk_bytes\":%d,\"first\":%ld,\"count\":1",
             sound->name, sound->is_music ? "music" : "chat", PIECE_BYTES, toy.next);
    toy.asked_file = ask(fields);
}

static void play_next(void) {
    if (toy.is_playing || toy.is_recording || toy.waiting == 0) {
        return;
    }
    toy.is_playing = true;
    toy.next = 0;
    toy.count = -1;
    toy_port_play_begin();
    ask_piece();
}

static void drop_sound(void) {
    toy.is_playing = false;
    toy.asked_file = 0;
    if (toy.waiting > 0) {
        toy.waiting--;
        memmove(toy.sounds, toy.sounds + 1, toy.waiting * sizeof toy.sounds[0]);
    }
}

static void stop(void) {
    if (toy.is_playing) {
        toy_port_play_stop();
        drop_sound();
    }
}

static void add_sound(const char *name, bool is_music, const char *message, const char *from) {
    if (name[0] == '\0' || toy.waiting == SOUNDS_MAX) {
        return;
    }
    struct sound *sound = &toy.sounds[toy.waiting++];
    snprintf(sound->name, sizeof sound->name, "%s", name);
    snprintf(sound->message, sizeof sound->message, "%s", message);
    snprintf(sound->from, sizeof sound->from, "%s", from);
    sound->is_music = is_music;
    play_next();
}

static void take_piece(long number, const uint8_t *data, size_t size) {
    /* At QoS 1 a piece may come twice. */
    if (toy.is_playing && toy.asked_file != 0 && number == toy.next) {
        toy.next++;
        toy_port_play(data, size);
    }
}

void toy_played(void) {
    if (!toy.is_playing) {
        return;
    }
    const struct sound *sound = &toy.sounds[0];
    if (sound->message[0] != '\0') {
        char fields[TEXT_SIZE];
        snprintf(fields, sizeof fields, "\"do\":\"mark_read\",\"from_user\":\"%s\",\"message\":\"%s\"", sound->from, sound->message);
        ask(fields);
    }
    drop_sound();
    play_next();
}

/* Events and answers */

static bool is_new(const char *id) {
    for (size_t at = 0; at < SEEN_MAX; at++) {
        if (strcmp(toy.seen[at], id) == 0) {
            return false;
        }
    }
    snprintf(toy.seen[toy.seen_next], ID_SIZE, "%s", id);
    toy.seen_next = (toy.seen_next + 1) % SEEN_MAX;
    return true;
}

static void take_answer(long number, const char *json, size_t size) {
    long code = 0;
    bool is_good = !json_number(json, size, "code", &code) || code == 0;
    if (number == toy.asked_file && toy.is_playing) {
        if (!is_good || !json_number(json, size, "chunks", &toy.count)) {
            stop();
            play_next();
        } else if (toy.next < toy.count) {
            ask_piece();
        } else {
            toy.asked_file = 0;
            toy_port_play_end();
        }
    } else if (number == toy.asked_answer && is_good) {
        char name[NAME_SIZE], from[ID_SIZE];
        toy.asked_answer = 0;
        if (json_text(json, size, "music", name, sizeof name)) {
            add_sound(name, true, "", "");
        } else if (json_text(json, size, "chat", name, sizeof name)) {
            add_sound(name, false, "", "");
            /* The next recording is for this friend. */
            if (json_text(json, size, "from_user", from, sizeof from) && strcmp(from, "ai") != 0) {
                snprintf(toy.friend_id, sizeof toy.friend_id, "%s", from);
            }
        }
    }
}

static void take_event(const char *json, size_t size) {
    char kind[16], id[ID_SIZE], name[NAME_SIZE], from[ID_SIZE];
    long number;
    if (json_number(json, size, "id", &number)) {
        take_answer(number, json, size);
        return;
    }
    json_text(json, size, "type", kind, sizeof kind);
    if (strcmp(kind, "command") == 0) {
        json_text(json, size, "command", name, sizeof name);
        if (strcmp(name, "stop") == 0) {
            stop();
            toy.waiting = 0;
        } else if (strcmp(name, "louder") == 0) {
            set_volume(toy.volume + VOLUME_STEP);
        } else if (strcmp(name, "softer") == 0) {
            set_volume(toy.volume - VOLUME_STEP);
        }
        return;
    }
    if (json_text(json, size, "_id", id, sizeof id) && !is_new(id)) {
        return;
    }
    if (strcmp(kind, "message") == 0) {
        if (json_text(json, size, "notice", name, sizeof name)) {
            add_sound(name, false, "", "");
        }
        json_text(json, size, "from_user", from, sizeof from);
        json_text(json, size, "chat", name, sizeof name);
        add_sound(name, false, id, from);
    } else if (strcmp(kind, "play") == 0) {
        if (json_text(json, size, "music", name, sizeof name)) {
            add_sound(name, true, "", "");
        } else if (json_text(json, size, "chat", name, sizeof name)) {
            add_sound(name, false, "", "");
        }
    } else if (strcmp(kind, "reminder") == 0 && json_text(json, size, "sound", name, sizeof name)) {
        add_sound(name, false, "", "");
    }
}

void toy_received(const char *topic, size_t topic_size, const uint8_t *data, size_t size) {
    /* toy/<24 digits>/ */
    const size_t head = 4 + 24 + 1;
    if (topic_size <= head) {
        return;
    }
    char rest[NAME_SIZE + 32];
    size_t rest_size = topic_size - head;
    if (rest_size >= sizeof rest) {
        return;
    }
    memcpy(rest, topic + head, rest_size);
    rest[rest_size] = '\0';
    if (strcmp(rest, "in") == 0) {
        take_event((const char *)data, size);
    } else if (strncmp(rest, "file/", 5) == 0) {
        const char *number = strrchr(rest, '/');
        size_t name_size = (size_t)(number - (rest + 5));
        bool is_wanted = toy.is_playing && number > rest + 5 && strlen(toy.sounds[0].name) == name_size &&
                         memcmp(toy.sounds[0].name, rest + 5, name_size) == 0;
        if (is_wanted) {
            take_piece(strtol(number + 1, NULL, 10), data, size);
        }
    } else if (strcmp(rest, "cmd/volume") == 0 && size > 0 && size < 4) {
        char text[4];
        memcpy(text, data, size);
        text[size] = '\0';
        char *end;
        long volume = strtol(text, &end, 10);
        if (*end == '\0') {
            set_volume((int)volume);
        }
    }
}

/* The recording: a WAV file, whose size is not known when it begins, in pieces. */

static void send_piece(void) {
    char channel[48];
    snprintf(channel, sizeof channel, "voice/rec%u/%ld", toy.uploads, toy.pieces++);
    publish(channel, toy.piece, toy.filled, false);
    toy.filled = 0;
}

static void put(const void *data, size_t size) {
    const uint8_t *bytes = data;
    while (size > 0) {
        size_t part = PIECE_BYTES - toy.filled < size ? PIECE_BYTES - toy.filled : size;
        memcpy(toy.piece + toy.filled, bytes, part);
        toy.filled += part;
        bytes += part;
        size -= part;
        if (toy.filled == PIECE_BYTES) {
            send_piece();
        }
    }
}

static void put_number(uint32_t number, size_t size) {
    for (size_t at = 0; at < size; at++) {
        uint8_t byte = (uint8_t)(number >> (8 * at));
        put(&byte, 1);
    }
}

void toy_button(bool is_pressed) {
    if (is_pressed && !toy.is_recording) {
        stop();
        toy.waiting = 0;
        toy.is_recording = true;
        toy.uploads++;
        toy.pieces = 0;
        toy.filled = 0;
        put("RIFF", 4);
        put_number(UINT32_MAX, 4);
        put("WAVEfmt ", 8);
        put_number(16, 4);
        put_number(1, 2);
        put_number(1, 2);
        put_number(TOY_MICROPHONE_HZ, 4);
        put_number(TOY_MICROPHONE_HZ * 2, 4);
        put_number(2, 2);
        put_number(16, 2);
        put("data", 4);
        put_number(UINT32_MAX, 4);
    } else if (!is_pressed && toy.is_recording) {
        char fields[TEXT_SIZE];
        toy.is_recording = false;
        send_piece();
        if (toy.friend_id[0] != '\0') {
            snprintf(fields, sizeof fields, "\"do\":\"toy_uploader\",\"to_user\":\"%s\",\"upload\":\"rec%u\",\"chunks\":%ld",
                     toy.friend_id, toy.uploads, toy.pieces);
            toy.friend_id[0] = '\0';
            ask(fields);
        } else {
            snprintf(fields, sizeof fields, "\"do\":\"ai_uploader\",\"upload\":\"rec%u\",\"chunks\":%ld", toy.uploads, toy.pieces);
            toy.asked_answer = ask(fields);
        }
    }
}

void toy_heard(const int16_t *samples, size_t count) {
    if (toy.is_recording) {
        /* Small ends first, as in the file and on the ESP32. */
        put(samples, count * sizeof samples[0]);
    }
}

/* The connection */

void toy_init(const char *id, int volume) {
    memset(&toy, 0, sizeof toy);
    snprintf(toy.id, sizeof toy.id, "%s", id);
    snprintf(toy.filters[0], sizeof toy.filters[0], "toy/%s/file/+/+", toy.id);
    snprintf(toy.filters[1], sizeof toy.filters[1], "toy/%s/cmd/#", toy.id);
    /* The last one: the hub then sends the unread messages. */
    snprintf(toy.filters[2], sizeof toy.filters[2], "toy/%s/in", toy.id);
    toy.volume = volume;
    toy_port_set_volume(volume);
}

const char *toy_filter(int number) {
    return number >= 0 && number < 3 ? toy.filters[number] : NULL;
}

void toy_connected(void) {
    report_volume();
    if (toy.is_playing && toy.asked_file != 0) {
        /* The answer may be lost with the connection. */
        ask_piece();
    }
}

void toy_disconnected(void) {
    toy.asked_answer = 0;
}
