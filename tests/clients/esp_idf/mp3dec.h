#include "esp_idf.h"
#define MAINBUF_SIZE 1940
#define MAX_NCHAN 2
#define MAX_NGRAN 2
#define MAX_NSAMP 576
#define ERR_MP3_NONE 0
typedef void *HMP3Decoder;
typedef struct { int bitrate, nChans, samprate, bitsPerSample, outputSamps, layer, version; } MP3FrameInfo;
HMP3Decoder MP3InitDecoder(void);
int MP3FindSyncWord(unsigned char *buffer, int size);
int MP3Decode(HMP3Decoder decoder, unsigned char **in, int *left, short *out, int use_size);
void MP3GetLastFrameInfo(HMP3Decoder decoder, MP3FrameInfo *info);
