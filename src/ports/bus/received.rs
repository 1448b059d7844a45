//! What was received of the other hubs, so that nothing is taken twice, and what is missing is noticed.

use std::collections::{BTreeMap, HashMap};

use super::notice::{HubName, Number};
use super::window::{Seen, Window};
use crate::ports::router::{ForwardId, HEARD_STREAMS_MAX, Heard};

/// What a message says of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It begins.
    Hello,
    /// It was there just now.
    SignOfLife,
    /// Nothing: the broker may bring it later.
    Other,
}

/// What was received of the other hubs.
#[derive(Default)]
pub(super) struct Received {
    /// The processes of the other hubs.
    processes: HashMap<String, Process>,
    /// The publications of the clients of each hub, by stream.
    publications: HashMap<String, BTreeMap<u64, Window>>,
    /// The process of this hub's name that has said hello last.
    own_hellos: Option<u64>,
    /// Signs of life of a process that counts as ended, since the last message of the one that counts as the hub's.
    signs_of_ended: HashMap<String, u32>,
}

/// The messages of a process.
struct Process {
    epoch: u64,
    /// Those to all hubs.
    to_all: Window,
    /// Those to this one. Others are to other hubs, and not missing.
    to_one: Window,
}

impl Process {
    fn new(epoch: u64) -> Self {
        Self { epoch, to_all: Window::default(), to_one: Window::default() }
    }
}

/// A process that counts as ended, but gives as many signs of life, is the one that is there.
const SIGNS_OF_LIFE: u32 = 2;

impl Received {
    /// As earlier processes of this hub have left it.
    pub(super) fn resumed(heard: &[Heard]) -> Self {
        let mut received = Self::default();
        for Heard { hub, id } in heard {
            let streams = received.publications.entry(hub.clone()).or_default();
            streams.entry(id.stream).or_default().note(id.number);
        }
        received.publications.values_mut().flat_map(BTreeMap::values_mut).for_each(Window::resume);
        received
    }

    /// Notes a message of a process. None if the process has ended, and another one has begun.
    pub(super) fn note_message(&mut self, from: &HubName, number: Number, kind: Kind) -> Option<Seen> {
        let process = self.processes.entry(from.hub.clone()).or_insert_with(|| Process::new(from.epoch));
        if from.epoch < process.epoch {
            let signs = self.signs_of_ended.entry(from.hub.clone()).or_default();
            *signs += u32::from(kind == Kind::SignOfLife);
            // If the clock was set back, the later process has the smaller number: a process begins with a hello. A damaged
            // message, or a forged one, may have had a larger number.
            if kind != Kind::Hello && *signs < SIGNS_OF_LIFE {
                return None;
            }
        }
        self.signs_of_ended.remove(&from.hub);
        if process.epoch != from.epoch {
            *process = Process::new(from.epoch);
        }
        Some(match number {
            Number::None => Seen::New,
            Number::ToAll(number) => process.to_all.note(number),
            Number::ToOne(number) => process.to_one.note(number),
        })
    }

    /// The hubs of which messages are missing since the last look, and those of whose clients publications are.
    pub(super) fn look(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut messages, mut publications) = (Vec::new(), Vec::new());
        for (hub, process) in &mut self.processes {
            if process.to_all.look() {
                messages.push(hub.clone());
            }
        }
        for (hub, streams) in &mut self.publications {
            let process = self.processes.get(hub).map_or(0, |process| process.epoch);
            let mut is_missing = false;
            for (stream, window) in streams {
                // A process that was killed may have numbered some that it had not accepted.
                is_missing |= window.look() && *stream >= process;
            }
            if is_missing {
                publications.push(hub.clone());
            }
        }
        (messages, publications)
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
        assert_eq!(received.note_message(&hub(100), Number::ToAll(7), Kind::Hello), Some(Seen::New));
        assert_eq!(received.note("a", of(100, 1)), Seen::New);
        // The next process; after that the broker brings what the first one has left.
        assert_eq!(received.note_message(&hub(200), Number::ToAll(1), Kind::Hello), Some(Seen::New));
        assert_eq!(received.note("a", of(200, 1)), Seen::New);
        assert_eq!(received.note_message(&hub(100), Number::ToAll(8), Kind::Other), None);
        assert_eq!(received.note("a", of(100, 2)), Seen::New);
        assert_eq!(received.note("a", of(100, 1)), Seen::Repeated);
        assert_eq!(
            received.note_message(&hub(200), Number::ToAll(2), Kind::Other),
            Some(Seen::New),
            "the process goes on"
        );
        assert_eq!(
            received.note_message(&hub(50), Number::ToAll(1), Kind::Hello),
            Some(Seen::New),
            "its clock was set back"
        );
    }

    #[test]
    fn only_publications_of_a_process_that_goes_on_are_missing() {
        let of = |stream, number| ForwardId { stream, number };
        let mut received = Received::default();
        received.note_message(&hub(100), Number::ToAll(1), Kind::Hello);
        received.note("a", of(100, 1));
        received.note("a", of(100, 3));
        assert_eq!(received.look(), (vec![], vec![]), "2 may be on its way");
        assert_eq!(received.look(), (vec![], vec!["a".to_owned()]));
        received.note("a", of(100, 5));
        received.note_message(&hub(200), Number::ToAll(1), Kind::Hello);
        assert_eq!([received.look(), received.look()], [(vec![], vec![]), (vec![], vec![])], "4 was not accepted");
    }

    #[test]
    fn a_message_to_one_hub_is_known_and_none_to_another_one_is_missing() {
        let mut received = Received::default();
        let mut note = |number| received.note_message(&hub(100), number, Kind::Other);
        assert_eq!([note(Number::ToAll(1)), note(Number::ToOne(5))], [Some(Seen::New); 2]);
        assert_eq!([note(Number::ToAll(2)), note(Number::ToOne(9))], [Some(Seen::New); 2]);
        assert_eq!(note(Number::ToOne(5)), Some(Seen::Repeated));
        assert_eq!([received.look(), received.look()], [(vec![], vec![]), (vec![], vec![])]);
    }

    #[test]
    fn a_process_that_lives_is_heard_after_a_message_with_a_later_number() {
        let mut received = Received::default();
        assert_eq!(received.note_message(&hub(100), Number::ToAll(1), Kind::Hello), Some(Seen::New));
        assert_eq!(received.note_message(&hub(900), Number::ToAll(2), Kind::SignOfLife), Some(Seen::New), "damaged");
        assert_eq!(
            received.note_message(&hub(100), Number::ToAll(2), Kind::SignOfLife),
            None,
            "the last one of an ended process?"
        );
        assert_eq!(received.note_message(&hub(100), Number::ToAll(3), Kind::Other), None);
        assert_eq!(received.note_message(&hub(100), Number::ToAll(4), Kind::SignOfLife), Some(Seen::New));
        assert_eq!(received.note_message(&hub(100), Number::ToAll(5), Kind::Other), Some(Seen::New));
        // Of two processes that are there, the later one counts.
        assert_eq!(received.note_message(&hub(200), Number::ToAll(1), Kind::Hello), Some(Seen::New));
        for number in 6..20 {
            assert_eq!(received.note_message(&hub(100), Number::ToAll(number), Kind::SignOfLife), None);
            assert_eq!(received.note_message(&hub(200), Number::ToAll(number), Kind::SignOfLife), Some(Seen::New));
        }
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
