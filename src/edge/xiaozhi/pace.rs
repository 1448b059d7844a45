//! The pace of the packets of one sound: by an absolute clock, a few packets ahead of the time at which they are played.
//!
//! A timer that waits for one packet's duration after each packet would drift by its own delays, and the device would run
//! out of sound. So the time of each packet is counted from the first one. If the hub is late and the device has run out,
//! the clock begins again.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::turn::PACKET_MS;

/// The pace of one sound.
#[derive(Debug)]
pub(super) struct Pace {
    lead: u32,
    /// When the device has begun to play the first of `sent` packets.
    began: Option<Instant>,
    sent: u32,
}

fn packets(count: u32) -> Duration {
    Duration::from_millis(u64::from(PACKET_MS)) * count
}

impl Pace {
    /// With so many packets ahead.
    pub(super) fn new(lead: u32) -> Self {
        Self { lead: lead.max(1), began: None, sent: 0 }
    }

    /// When the next packet is due; none before the first one, which is due at once.
    pub(super) fn due(&self) -> Option<Instant> {
        self.began.map(|began| began + packets(self.sent.saturating_sub(self.lead - 1)))
    }

    /// A packet is sent now.
    pub(super) fn sent(&mut self, now: Instant) {
        if self.played_out().is_none_or(|end| end < now) {
            (self.began, self.sent) = (Some(now), 0);
        }
        self.sent += 1;
    }

    /// When the device has played all that was sent, if it has room and the network is quick.
    pub(super) fn played_out(&self) -> Option<Instant> {
        self.began.map(|began| began + packets(self.sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times of the packets, in milliseconds, of a hub whose timers are late by `late` at each packet.
    fn times(lead: u32, count: usize, late: impl Fn(usize) -> u64) -> Vec<u64> {
        let (start, mut pace) = (Instant::now(), Pace::new(lead));
        let mut now = start;
        (0..count)
            .map(|at| {
                now = now.max(pace.due().unwrap_or(start)) + Duration::from_millis(late(at));
                pace.sent(now);
                now.duration_since(start).as_millis() as u64
            })
            .collect()
    }

    #[test]
    fn a_few_packets_go_ahead_and_the_others_by_the_clock() {
        assert_eq!(times(4, 8, |_| 0), [0, 0, 0, 0, 60, 120, 180, 240]);
        // A device never holds more than the lead.
        for lead in 1..=5 {
            for (at, time) in times(lead, 100, |_| 0).into_iter().enumerate() {
                let played = time / 60;
                assert!(at as u64 + 1 - played <= u64::from(lead), "packet {at} at {time}");
            }
        }
    }

    #[test]
    fn late_timers_do_not_add_up() {
        let times = times(4, 500, |at| (at as u64 * 7) % 13);
        assert!(times[499] <= 496 * 60 + 12, "{}", times[499]);
    }

    #[test]
    fn a_device_that_has_run_out_is_filled_up_again() {
        // The packet 20 is made two seconds late.
        let times = times(4, 30, |at| if at == 20 { 2000 } else { 0 });
        assert_eq!(times[20] - times[19], 2060);
        assert_eq!(times[21..26].iter().map(|time| time - times[20]).collect::<Vec<_>>(), [0, 0, 0, 60, 120]);
    }

    #[test]
    fn the_end_is_that_of_the_last_packet() {
        let (start, mut pace) = (Instant::now(), Pace::new(4));
        assert_eq!((pace.due(), pace.played_out()), (None, None));
        (0..10).for_each(|_| pace.sent(start));
        assert_eq!(pace.played_out(), Some(start + Duration::from_millis(600)));
    }
}
