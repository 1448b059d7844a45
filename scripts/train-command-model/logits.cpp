// The logits that whisper.cpp itself computes after the two start tokens, to compare them with PyTorch's.
//
//   logits MODEL SAMPLES     lines of `offset count` on the standard input
//
// SAMPLES holds 16-bit samples at 16 kHz. Answers a line of numbers for each clip.

#include "whisper.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
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
    if (argc != 3) {
        fprintf(stderr, "usage: logits MODEL SAMPLES\n");
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
        whisper_pcm_to_mel(context, samples.data(), samples.size(), 1);
        whisper_encode(context, 0, 1);
        whisper_token start[] = {whisper_token_sot(context), whisper_token_not(context)};
        for (int i = 0; i < 2; i++) whisper_decode(context, start + i, 1, i, 1);
        const float * values = whisper_get_logits(context);
        for (int i = 0; i < whisper_n_vocab(context); i++) printf("%g ", values[i]);
        printf("\n");
    }
    whisper_free(context);
}
