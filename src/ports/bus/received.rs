//! What was received of the other hubs, so that nothing is taken twice, and what is missing is noticed.

use std::collections::{BTreeMap, HashMap};

use super::notice::HubName;
use super::window::{Seen, Window};
use crate::ports::router::{ForwardId, HEARD_STREAMS_MAX, Heard};

/// What was received of the other hubs.
#[derive(Default)]
pub(super) struct Received {
    /// The messages of the process of each hub.
    processes: HashMap<String, (u64, Window)>,
    /// The publications of the clients of each hub, by stream.
    publications: HashMap<String, BTreeMap<u64, Window>>,
    /// The process of this hub's name that has said hello last.
    own_hellos: Option<u64>,
}

impl Received {
    /// As earlier processes of this hub have left it.
    pub(super) fn resumed(heard: &[Heard]) -> Self {
        let mut received = Self::default();
        for Heard { hub, id } in heard {
            let streams = received.publications.entry(hub.clone()).or_default();
            streams.entry(id.stream).or_default().note(id.number);
        }
        received
    }

    /// Notes a message of a process. None if the process has ended, and another one has begun.
    pub(super) fn note_message(&mut self, from: &HubName, number: u64, is_hello: bool) -> Option<Seen> {
        let process = self.processes.entry(from.hub.clone());
        let (epoch, window) = process.or_insert_with(|| (from.epoch, Window::default()));
        if *epoch != from.epoch {
            // If the clock was set back, the later process has the smaller number: a process begins with a hello.
            if from.epoch < *epoch && !is_hello {
                return None;
            }
            (*epoch, *window) = (from.epoch, Window::default());
        }
        Some(window.note(number))
    }

    /// Notes a publication.
    pub(super) fn note(&mut self, hub: &str, id: ForwardId) -> Seen {
        let streams = self.publications.entry(hub.to_owned()).or_default();
        let seen = streams.entry(id.stream).or_default().note(id.number);
        while streams.len() > HEARD_STREAMS_MAX {
            streams.pop_first();
        }
        seen
    }

    /// Notes the hello of a process with the name of this hub; whether it was the last one that has said hello, too.
    pub(super) fn note_own_hello(&mut self, epoch: u64) -> bool {
        self.own_hellos.replace(epoch) == Some(epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(epoch: u64) -> HubName {
        HubName { hub: "a".into(), epoch }
    }

    #[test]
    fn what_an_ended_process_has_left_is_known_by_its_stream() {
        let mut received = Received::default();
        let of = |stream, number| ForwardId { stream, number };
        assert_eq!(received.note_message(&hub(100), 7, true), Some(Seen::New));
        assert_eq!(received.note("a", of(100, 1)), Seen::New);
        // The next process; after that the broker brings what the first one has left.
        assert_eq!(received.note_message(&hub(200), 1, true), Some(Seen::New));
        assert_eq!(received.note("a", of(200, 1)), Seen::New);
        assert_eq!(received.note_message(&hub(100), 8, false), None);
        assert_eq!(received.note("a", of(100, 2)), Seen::New);
        assert_eq!(received.note("a", of(100, 1)), Seen::Repeated);
        assert_eq!(received.note_message(&hub(200), 2, false), Some(Seen::New), "the process goes on");
        assert_eq!(received.note_message(&hub(50), 1, true), Some(Seen::New), "its clock was set back");
    }

    #[test]
    fn only_what_a_session_has_stored_is_a_repeat_after_a_restart() {
        let stored = [9, 11].map(|number| Heard { hub: "a".into(), id: ForwardId { stream: 100, number } });
        let mut received = Received::resumed(&stored);
        let seen = [11, 10, 9, 8, 12].map(|number| received.note("a", ForwardId { stream: 100, number }));
        assert_eq!(seen, [Seen::Repeated, Seen::New, Seen::Repeated, Seen::New, Seen::New]);
    }

    #[test]
    fn a_process_of_the_same_name_that_is_alive_says_hello_again() {
        let mut received = Received::default();
        assert_eq!([1, 2, 2, 1].map(|epoch| received.note_own_hello(epoch)), [false, false, true, false]);
    }
}
