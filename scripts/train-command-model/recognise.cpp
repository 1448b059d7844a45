// Recognises clips with whisper.cpp itself, as the hub does: greedy, no timestamps, a shortened audio context.
//
//   recognise MODEL SAMPLES [--prompt TEXT] [--keep-blank]     lines of `offset count` on the standard input
//   recognise MODEL SAMPLES --logits                           the logits after the two start tokens, as text
//
// SAMPLES holds 16-bit samples at 16 kHz. Answers a line for each clip: milliseconds, the mean and the smallest
// probability of its tokens, and the text.

#include "whisper.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

static std::vector<float> read_clip(std::ifstream & file, long offset, long count) {
    std::vector<int16_t> raw(count);
    file.clear();
    file.seekg(offset * 2);
    file.read(reinterpret_cast<char *>(raw.data()), count * 2);
    std::vector<float> samples(raw.size());
    std::transform(raw.begin(), raw.end(), samples.begin(), [](int16_t s) { return s / 32768.0f; });
    // whisper.cpp reads past the end of less than 201 samples.
    samples.resize(std::max<size_t>(samples.size(), 16000));
    return samples;
}

int main(int argc, char ** argv) {
    const char * prompt = nullptr;
    bool logits = false, keep_blank = false;
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "--prompt") && i + 1 < argc) prompt = argv[++i];
        if (!strcmp(argv[i], "--logits")) logits = true;
        if (!strcmp(argv[i], "--keep-blank")) keep_blank = true;
    }
    if (argc < 3) {
        fprintf(stderr, "usage: recognise MODEL SAMPLES [--prompt TEXT] [--keep-blank] [--logits]\n");
        return 2;
    }
    whisper_log_set([](ggml_log_level level, const char * text, void *) { if (level >= GGML_LOG_LEVEL_WARN) fputs(text, stderr); }, nullptr);
    whisper_context_params how = whisper_context_default_params();
    how.use_gpu = false;
    // With flash attention the padding of the audio context is not masked.
    how.flash_attn = false;
    whisper_context * context = whisper_init_from_file_with_params(argv[1], how);
    if (!context) return 1;
    std::ifstream clips(argv[2], std::ios::binary);

    long offset, count;
    while (std::cin >> offset >> count) {
        std::vector<float> samples = read_clip(clips, offset, count);
        if (logits) {
            whisper_pcm_to_mel(context, samples.data(), samples.size(), 1);
            whisper_encode(context, 0, 1);
            whisper_token start[] = {whisper_token_sot(context), whisper_token_not(context)};
            for (int i = 0; i < 2; i++) whisper_decode(context, start + i, 1, i, 1);
            const float * values = whisper_get_logits(context);
            for (int i = 0; i < whisper_n_vocab(context); i++) printf("%g ", values[i]);
            printf("\n");
            continue;
        }
        whisper_full_params params = whisper_full_default_params(WHISPER_SAMPLING_GREEDY);
        int positions = int(50.0 * samples.size() / 16000 + 128 + 63) / 64 * 64;
        params.audio_ctx = std::min(whisper_n_audio_ctx(context), std::max(384, positions));
        params.n_threads = 1;
        params.language = "en";
        params.no_context = true;
        params.single_segment = true;
        params.no_timestamps = true;
        params.suppress_blank = !keep_blank;
        params.suppress_nst = true;
        params.temperature_inc = 0;
        params.max_tokens = 48;
        params.print_progress = false;
        params.initial_prompt = prompt;
        auto began = std::chrono::steady_clock::now();
        if (whisper_full(context, params, samples.data(), samples.size()) != 0) return 1;
        double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
        std::string text;
        double sum = 0, least = 1;
        int tokens = 0;
        for (int s = 0; s < whisper_full_n_segments(context); s++) {
            text += whisper_full_get_segment_text(context, s);
            for (int t = 0; t < whisper_full_n_tokens(context, s); t++) {
                if (whisper_full_get_token_id(context, s, t) >= whisper_token_eot(context)) continue;
                double p = whisper_full_get_token_p(context, s, t);
                sum += p, tokens++, least = std::min(least, p);
            }
        }
        printf("%.1f\t%.3f\t%.3f\t%s\n", ms, tokens ? sum / tokens : 0, tokens ? least : 0, text.c_str());
        fflush(stdout);
    }
    whisper_free(context);
}
