//! A stored sound as packets of a stream, made piece by piece: a story of an hour never is in memory as samples.

use std::io::Cursor;

use bytes::Bytes;
use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, SeekMode, SeekTo};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::units::Time;

use super::container::{choose_track, open};
use super::opus::{OPUS_OUT_HZ, OpusWriter};
use super::resample::Resampling;
use super::sniff::{self, Found};
use super::{AudioError, MAX_CHANNELS, PLAUSIBLE_RATES_HZ};

/// So many packets of a container without a sample are damage.
const IDLE_PACKETS_MAX: usize = 2_000;

/// A sound of the hub that is being played.
pub struct Player {
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate: Option<Resampling>,
    writer: OpusWriter,
    interleaved: Vec<f32>,
    /// Samples at the rate of the packets that were encoded.
    made: u64,
    has_ended: bool,
}

impl Player {
    /// A player at the beginning of a sound.
    ///
    /// # Errors
    /// `NotSound`, `Unsupported`, `Damaged`, `Excessive`.
    pub fn open(sound: Bytes) -> Result<Self, AudioError> {
        let Found { kind, offset, .. } =
            sniff::recognise(&mut Cursor::new(sound.clone()))?.ok_or(AudioError::NotSound)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(sound.len());
        let source = MediaSourceStream::new(Box::new(Cursor::new(sound.slice(start..))), Default::default());
        let reader = open(kind, source)?;
        let (track, decoder) = choose_track(reader.as_ref())?;
        let writer = OpusWriter::new()?;
        Ok(Self { reader, decoder, track, rate: None, writer, interleaved: Vec::new(), made: 0, has_ended: false })
    }

    /// As [`Self::open`], at about so many seconds after the beginning; at the beginning, if there is no such place.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn open_at(sound: Bytes, seconds: f64) -> Result<Self, AudioError> {
        let mut player = Self::open(sound.clone())?;
        let Some(time) = Time::try_from_secs_f64(seconds).filter(|_| seconds > 0.0) else { return Ok(player) };
        let to = SeekTo::Time { time, track_id: Some(player.track) };
        if player.reader.seek(SeekMode::Accurate, to).is_err() {
            return Self::open(sound);
        }
        player.decoder.reset();
        Ok(player)
    }

    /// The packets of the next `seconds`, or of the rest; none at the end. Blocks for a part of that time.
    ///
    /// # Errors
    /// `Encode`; `Damaged` if nothing more can be decoded.
    pub fn next(&mut self, seconds: u32) -> Result<Vec<Bytes>, AudioError> {
        let mut packets = Vec::new();
        let (mut samples, mut idle) = (Vec::new(), 0);
        let until = self.made + u64::from(seconds) * u64::from(OPUS_OUT_HZ);
        while self.made < until && !self.has_ended {
            let before = samples.len();
            self.decode_packet(&mut samples)?;
            idle = if samples.len() == before { idle + 1 } else { 0 };
            if idle > IDLE_PACKETS_MAX {
                return Err(AudioError::Damaged("packets without sound".into()));
            }
            self.made += (samples.len() - before) as u64;
        }
        self.writer.write(&samples, &mut packets)?;
        if self.has_ended {
            self.writer.flush(&mut packets)?;
        }
        Ok(packets)
    }

    /// Appends the samples of the next packet of the container, or at its end those that the filter still holds.
    fn decode_packet(&mut self, samples: &mut Vec<f32>) -> Result<(), AudioError> {
        let packet = match self.reader.next_packet() {
            Ok(Some(packet)) if packet.track_id == self.track => packet,
            Ok(Some(_)) => return Ok(()),
            // The rest of a stored sound that is damaged is left out.
            Ok(None) | Err(_) => {
                self.has_ended = true;
                return self.rate.as_mut().map_or(Ok(()), |rate| rate.finish(samples));
            }
        };
        let decoded = match self.decoder.decode(&packet) {
            Ok(decoded) => decoded,
            Err(Error::ResetRequired) => {
                self.has_ended = true;
                return Ok(());
            }
            // A click.
            Err(_) => return Ok(()),
        };
        let (rate_hz, channels) = (decoded.spec().rate(), decoded.num_planes());
        if !PLAUSIBLE_RATES_HZ.contains(&rate_hz) || !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(AudioError::Damaged(format!("{channels} channels at {rate_hz} Hz")));
        }
        decoded.copy_to_vec_interleaved(&mut self.interleaved);
        let rate = match &mut self.rate {
            Some(rate) if rate.input_hz() == rate_hz => rate,
            rate => rate.insert(Resampling::new(rate_hz, OPUS_OUT_HZ)?),
        };
        let plain = |sample: &f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        let frames = self.interleaved.chunks_exact(channels);
        let mixed: Vec<f32> = frames.map(|frame| frame.iter().map(plain).sum::<f32>() / channels as f32).collect();
        rate.push(&mixed, samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::audio::opus::OpusReader;
    use crate::ports::audio::{Sound, encode_mp3, encode_wav};

    fn song(rate_hz: u32, seconds: f32) -> Sound {
        let count = (rate_hz as f32 * seconds) as usize;
        let samples = (0..count).map(|n| 0.4 * (n as f32 * 2764.6 / rate_hz as f32).sin()).collect();
        Sound { rate_hz, samples }
    }

    fn play(sound: Bytes, seconds: u32) -> (Vec<f32>, usize) {
        let (mut player, mut reader) = (Player::open(sound).unwrap(), OpusReader::new().unwrap());
        let (mut heard, mut steps) = (Vec::new(), 0);
        loop {
            let packets = player.next(seconds).unwrap();
            if packets.is_empty() {
                return (heard, steps);
            }
            steps += 1;
            packets.iter().for_each(|packet| heard.extend_from_slice(reader.read(packet).unwrap()));
        }
    }

    #[test]
    fn a_stored_sound_is_played_piece_by_piece_without_a_gap() {
        for (what, sound) in [
            ("mp3", encode_mp3(&song(44_100, 5.0), 64).unwrap()),
            ("wav", encode_wav(&song(22_050, 5.0)).unwrap()),
            ("wav at the rate of the packets", encode_wav(&song(24_000, 5.0)).unwrap()),
        ] {
            let (heard, steps) = play(sound.clone(), 1);
            assert!((5..=6).contains(&steps), "{what}: {steps}");
            let seconds = heard.len() as f32 / 16_000.0;
            assert!((4.98..5.2).contains(&seconds), "{what}: {seconds}");
            // The tone of 440 Hz is everywhere as loud, also where two pieces meet.
            let powers = heard[1600..78_000].chunks(1600).map(|part| part.iter().map(|x| x * x).sum::<f32>() / 1600.0);
            let (least, most) = powers.fold((1.0, 0.0), |(a, b): (f32, f32), power| (a.min(power), b.max(power)));
            // A packet that is missing would leave less than half.
            assert!(least > 0.045 && most < 0.1, "{what}: from {least} to {most}");
            // In one piece it is the same.
            assert_eq!(play(sound, 100).0.len(), heard.len(), "{what}");
        }
    }

    #[test]
    fn a_sound_begins_at_a_place_or_at_its_beginning() {
        for (what, sound) in
            [("mp3", encode_mp3(&song(24_000, 10.0), 64).unwrap()), ("wav", encode_wav(&song(22_050, 10.0)).unwrap())]
        {
            for (from, expected) in [(0.0, 10.0), (-1.0, 10.0), (f64::NAN, 10.0), (4.0, 6.0), (9.5, 0.5), (1e300, 10.0)]
            {
                let mut player = Player::open_at(sound.clone(), from).unwrap();
                let seconds = player.next(100).unwrap().len() as f64 * 0.06;
                assert!((expected - 0.1..expected + 0.2).contains(&seconds), "{what} from {from}: {seconds}");
            }
        }
    }

    #[test]
    fn what_is_no_sound_is_not_played_and_a_cut_one_is_played_so_far() {
        assert!(Player::open(Bytes::from_static(b"no sound at all, only words")).is_err());
        let mp3 = encode_mp3(&song(44_100, 5.0), 64).unwrap();
        let (heard, _) = play(mp3.slice(..mp3.len() / 2), 1);
        let seconds = heard.len() as f32 / 16_000.0;
        assert!((2.3..2.8).contains(&seconds), "{seconds}");
    }
}
