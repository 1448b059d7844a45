/* A client with mbedTLS, the TLS library of many small devices: copies its input to the server and the answer to its
 * output. Arguments: the port on localhost, a file with the authority, and the largest fragment that it asks for (512,
 * 1024, 2048 or 4096 bytes). Writes the length of each record that is longer than all before it to its error output. */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mbedtls_net_context net;
static unsigned char header[5];
static size_t header_have, body_left, longest;

/* Follows the headers of the records that come in. */
static void follow(const unsigned char *bytes, size_t len) {
    while (len > 0) {
        size_t step = 1;
        if (body_left > 0) {
            step = len < body_left ? len : body_left;
            body_left -= step;
        } else {
            header[header_have++] = *bytes;
            if (header_have == sizeof header) {
                header_have = 0;
                body_left = (size_t)header[3] << 8 | header[4];
                if (body_left + sizeof header > longest) {
                    longest = body_left + sizeof header;
                    fprintf(stderr, "record %zu\n", longest);
                }
            }
        }
        bytes += step;
        len -= step;
    }
}

static int receive(void *context, unsigned char *bytes, size_t len) {
    int got = mbedtls_net_recv(context, bytes, len);
    if (got > 0) follow(bytes, (size_t)got);
    return got;
}

static void check(const char *what, int result) {
    if (result < 0) {
        fprintf(stderr, "%s: -0x%04x\n", what, (unsigned)-result);
        exit(1);
    }
}

static unsigned char fragment_code(const char *bytes) {
    switch (atoi(bytes)) {
    case 512: return MBEDTLS_SSL_MAX_FRAG_LEN_512;
    case 1024: return MBEDTLS_SSL_MAX_FRAG_LEN_1024;
    case 2048: return MBEDTLS_SSL_MAX_FRAG_LEN_2048;
    default: return MBEDTLS_SSL_MAX_FRAG_LEN_4096;
    }
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_ssl_config config;
    mbedtls_ssl_context tls;
    mbedtls_x509_crt authority;
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&tls);
    mbedtls_x509_crt_init(&authority);
    mbedtls_net_init(&net);
    check("random", mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0));
    check("authority", mbedtls_x509_crt_parse_file(&authority, arguments[2]));
    check("connect", mbedtls_net_connect(&net, "127.0.0.1", arguments[1], MBEDTLS_NET_PROTO_TCP));
    check("config", mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                                MBEDTLS_SSL_PRESET_DEFAULT));
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&config, &authority, NULL);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
    check("fragment", mbedtls_ssl_conf_max_frag_len(&config, fragment_code(arguments[3])));
    check("setup", mbedtls_ssl_setup(&tls, &config));
    check("name", mbedtls_ssl_set_hostname(&tls, "localhost"));
    mbedtls_ssl_set_bio(&tls, &net, mbedtls_net_send, receive, NULL);
    check("handshake", mbedtls_ssl_handshake(&tls));
    struct pollfd sources[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = net.fd, .events = POLLIN}};
    unsigned char bytes[4096];
    for (;;) {
        if (mbedtls_ssl_get_bytes_avail(&tls) == 0) poll(sources, 2, -1);
        if (sources[0].revents & (POLLIN | POLLHUP)) {
            ssize_t len = read(STDIN_FILENO, bytes, sizeof bytes);
            if (len <= 0) return 0;
            for (ssize_t sent = 0; sent < len;) {
                int step = mbedtls_ssl_write(&tls, bytes + sent, (size_t)(len - sent));
                check("write", step);
                sent += step;
            }
        }
        if ((sources[1].revents & (POLLIN | POLLHUP)) || mbedtls_ssl_get_bytes_avail(&tls) > 0) {
            int len = mbedtls_ssl_read(&tls, bytes, sizeof bytes);
            if (len == 0 || len == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) return 0;
            check("read", len);
            if (fwrite(bytes, 1, (size_t)len, stdout) != (size_t)len || fflush(stdout) != 0) return 1;
        }
    }
}
