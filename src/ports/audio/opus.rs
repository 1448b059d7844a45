//! Opus, packet by packet, for streams: without a container, and in both directions.

use bytes::Bytes;
use opusic_c::{Application, Bitrate, Channels, Decoder, Encoder, ErrorCode, SampleRate};

use super::AudioError;

/// The rate at which packets are decoded, in Hz: that of speech recognition.
pub const OPUS_IN_HZ: u32 = 16_000;
/// The rate of encoded packets, in Hz.
pub const OPUS_OUT_HZ: u32 = 24_000;
/// The duration of an encoded packet, in milliseconds.
pub const OPUS_OUT_MS: u32 = 60;

/// Samples of the longest packet, which lasts 120 ms (RFC 6716 section 3.2.5).
const SAMPLES_IN_MAX: usize = OPUS_IN_HZ as usize * 120 / 1000;
/// Samples of one encoded packet.
const SAMPLES_OUT: usize = (OPUS_OUT_HZ * OPUS_OUT_MS / 1000) as usize;
/// An encoded packet has a few hundred bytes; the limit is that of the format for one frame (RFC 6716 section 3.4).
const PACKET_MAX_BYTES: usize = 1275;
/// Enough for speech and for a song in one channel of 12 kHz.
const BITS_PER_SECOND: u32 = 32_000;
/// Of 10: half of the CPU time of the best quality.
const COMPLEXITY: u8 = 5;

/// Decodes the packets of one stream, whatever their duration and channels, into one channel at [`OPUS_IN_HZ`].
pub struct OpusReader {
    decoder: Decoder,
    samples: Vec<f32>,
}

impl OpusReader {
    /// A reader at the beginning of a stream. Errors: `Encode` without memory.
    pub fn new() -> Result<Self, AudioError> {
        let decoder = Decoder::new(Channels::Mono, SampleRate::Hz16000).map_err(failed)?;
        Ok(Self { decoder, samples: vec![0.0; SAMPLES_IN_MAX] })
    }

    /// The samples of the next packet, each from -1 to 1. Errors: `Damaged`; the next packet may be good.
    pub fn read(&mut self, packet: &[u8]) -> Result<&[f32], AudioError> {
        // For the decoder, a packet without bytes is a lost one, of any duration.
        if packet.is_empty() {
            return Ok(&[]);
        }
        let count = self.decoder.decode_float_to_slice(packet, &mut self.samples, false);
        let count = count.map_err(|error| AudioError::Damaged(error.message().into()))?;
        let samples = &mut self.samples[..count.min(SAMPLES_IN_MAX)];
        for sample in samples.iter_mut() {
            *sample = if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        }
        Ok(samples)
    }
}

/// Encodes one channel at [`OPUS_OUT_HZ`] into packets of [`OPUS_OUT_MS`].
pub struct OpusWriter {
    encoder: Encoder,
    /// Samples of the next packet.
    waiting: Vec<f32>,
    /// By how many samples the decoded sound is behind.
    delay: usize,
}

impl OpusWriter {
    /// A writer at the beginning of a stream. Errors: `Encode` without memory.
    pub fn new() -> Result<Self, AudioError> {
        let mut encoder = Encoder::new(Channels::Mono, SampleRate::Hz24000, Application::Audio).map_err(failed)?;
        encoder.set_bitrate(Bitrate::Value(BITS_PER_SECOND)).map_err(failed)?;
        encoder.set_complexity(COMPLEXITY).map_err(failed)?;
        let delay = encoder.get_look_ahead().map_err(failed)? as usize;
        Ok(Self { encoder, waiting: Vec::with_capacity(2 * SAMPLES_OUT), delay })
    }

    /// Appends samples. The packets that are complete now are appended to `packets`. Errors: `Encode`.
    pub fn write(&mut self, samples: &[f32], packets: &mut Vec<Bytes>) -> Result<(), AudioError> {
        let mut bytes = [0; PACKET_MAX_BYTES];
        for part in samples.chunks(SAMPLES_OUT) {
            self.waiting.extend_from_slice(part);
            if self.waiting.len() >= SAMPLES_OUT {
                let size = self.encoder.encode_float_to_slice(&self.waiting[..SAMPLES_OUT], &mut bytes);
                packets.push(Bytes::copy_from_slice(&bytes[..size.map_err(failed)?]));
                self.waiting.drain(..SAMPLES_OUT);
            }
        }
        Ok(())
    }

    /// Encodes the rest, with silence behind it up to the end of a packet. More may follow. Errors: `Encode`.
    pub fn flush(&mut self, packets: &mut Vec<Bytes>) -> Result<(), AudioError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        // The last samples of the sound leave the decoder that much later.
        let end = (self.waiting.len() + self.delay).next_multiple_of(SAMPLES_OUT);
        self.write(&vec![0.0; end - self.waiting.len()], packets)
    }
}

fn failed(error: ErrorCode) -> AudioError {
    AudioError::Encode(error.message().into())
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    fn tone(hz: f32, seconds: f32) -> Vec<f32> {
        let count = (seconds * OPUS_OUT_HZ as f32) as usize;
        (0..count).map(|n| 0.5 * (TAU * hz * n as f32 / OPUS_OUT_HZ as f32).sin()).collect()
    }

    fn packets(pieces: &[&[f32]]) -> Vec<Bytes> {
        let (mut writer, mut packets) = (OpusWriter::new().unwrap(), Vec::new());
        for piece in pieces {
            writer.write(piece, &mut packets).unwrap();
        }
        writer.flush(&mut packets).unwrap();
        packets
    }

    fn read(packets: &[Bytes]) -> Vec<f32> {
        let mut reader = OpusReader::new().unwrap();
        packets.iter().flat_map(|packet| reader.read(packet).unwrap().to_vec()).collect()
    }

    #[test]
    fn a_tone_comes_out_as_it_went_in_and_nothing_of_its_end_is_missing() {
        let sound = tone(440.0, 1.0);
        let packets = packets(&[&sound[..5000], &sound[5000..5001], &sound[5001..]]);
        assert_eq!(packets.len(), 17, "a second, and the delay of the codec");
        assert!(packets.iter().all(|packet| packet.len() < 700), "32 kbit/s are 240 bytes a packet");
        let heard = read(&packets);
        assert_eq!(heard.len(), 17 * 960);
        let power = |part: &[f32]| part.iter().map(|sample| sample * sample).sum::<f32>() / part.len() as f32;
        // Both ends of the tone; behind it there is silence.
        for part in [&heard[800..1600], &heard[15_000..15_900]] {
            assert!((power(part) - 0.125).abs() < 0.03, "{}", power(part));
        }
        assert!(power(&heard[16_200..]) < 0.01, "{}", power(&heard[16_200..]));
        let crossings = heard[1600..9600].windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        assert!((218..=222).contains(&crossings), "{crossings} periods of 440 Hz in half a second");
    }

    #[test]
    fn a_flush_without_samples_writes_nothing_and_more_may_follow() {
        let (mut writer, mut packets) = (OpusWriter::new().unwrap(), Vec::new());
        writer.flush(&mut packets).unwrap();
        assert!(packets.is_empty());
        writer.write(&tone(300.0, 0.01), &mut packets).unwrap();
        writer.flush(&mut packets).unwrap();
        assert_eq!(packets.len(), 1);
        writer.write(&tone(300.0, 0.12), &mut packets).unwrap();
        writer.flush(&mut packets).unwrap();
        assert_eq!(packets.len(), 3, "the rest was already written");
    }

    #[test]
    fn packets_of_every_duration_are_read_and_bad_ones_do_not_end_the_stream() {
        let mut reader = OpusReader::new().unwrap();
        for (hz16_samples, frame) in [(160, 240), (320, 480), (640, 960), (960, 1440), (1920, 2880)] {
            let mut encoder = Encoder::new(Channels::Mono, SampleRate::Hz24000, Application::Voip).unwrap();
            let mut bytes = [0; 2000];
            let size = encoder.encode_float_to_slice(&tone(200.0, 1.0)[..frame], &mut bytes).unwrap();
            assert_eq!(reader.read(&bytes[..size]).unwrap().len(), hz16_samples);
            // Code 3 with a frame count of 0 is not a packet (RFC 6716 section 3.2.5).
            assert!(matches!(reader.read(&[0x03, 0x00]), Err(AudioError::Damaged(_))));
        }
        assert!(reader.read(&[]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_stranger_do_harm(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1500), 1..20)) {
            let mut reader = OpusReader::new().unwrap();
            for packet in packets {
                if let Ok(samples) = reader.read(&packet) {
                    prop_assert!(samples.iter().all(|sample| (-1.0..=1.0).contains(sample)));
                }
            }
        }
    }
}
