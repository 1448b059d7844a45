//! Recordings as AMR toys make them.

use codec_core::codecs::amr::AmrCodec;
use codec_core::types::{CodecConfig, VariableRateCodec};

/// 20 ms at 8 kHz.
const FRAME_SAMPLES: usize = 160;
/// 12.2 kbit/s.
const MODE: u8 = 7;

/// A complete `#!AMR\n` file at 12.2 kbit/s of mono samples at 8 kHz; the
/// last frame is filled up with silence.
pub fn encode_amr_nb(samples_8k_mono: &[i16]) -> Vec<u8> {
    let mut codec = AmrCodec::new(&CodecConfig::amr_nb()).expect("the codec has narrow band");
    codec.set_mode(MODE).expect("narrow band has 12.2 kbit/s");
    let mut file = b"#!AMR\n".to_vec();
    for chunk in samples_8k_mono.chunks(FRAME_SAMPLES) {
        let mut samples = chunk.to_vec();
        samples.resize(FRAME_SAMPLES, 0);
        let frame = codec.encode_frame(&samples).expect("a whole frame");
        // Frame type, then the bit that marks the frame as valid.
        file.push(frame.mode << 3 | 1 << 2);
        file.extend_from_slice(&frame.data);
    }
    file
}
