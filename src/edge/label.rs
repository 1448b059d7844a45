//! The connection that a task works for, as log lines name it.
//!
//! A span of `tracing` would take 400 bytes of every idle connection. A label takes a hundred: its task has it, sets it for
//! the thread whenever it is polled, and only a line of the log writes it as text. Tasks that a task of the connection
//! spawns ([`Tasks`](super::tasks::Tasks)) have the same label.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::model::Party;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Label>>> = const { RefCell::new(None) };
}

/// The label of a connection.
#[derive(Debug)]
pub struct Label {
    protocol: &'static str,
    number: u64,
    address: IpAddr,
    party: Mutex<Option<Party>>,
}

impl Label {
    /// Of a connection that was accepted as the `number`-th of its protocol, from a client that has not logged in.
    pub fn new(protocol: &'static str, number: u64, address: IpAddr) -> Arc<Self> {
        Arc::new(Self { protocol, number, address, party: Mutex::new(None) })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, number, address, party } = self;
        write!(f, "connection{{protocol={protocol:?} number={number} address={address}")?;
        let party = party.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(party) = &*party {
            write!(f, " party={:?}", party.in_log())?;
        }
        f.write_str("}")
    }
}

/// The label of the running task.
pub fn current() -> Option<Arc<Label>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Names the party of a client that has logged in, in all later log lines of its connection.
pub fn note_party(party: &Party) {
    CURRENT.with_borrow(|label| {
        if let Some(label) = label {
            *label.party.lock().unwrap_or_else(PoisonError::into_inner) = Some(party.clone());
        }
    });
}

/// Writes the label of the running task, if it has one.
pub fn write_current(to: &mut dyn fmt::Write) -> fmt::Result {
    // The label may be borrowed or the thread may be ending: a line of the log is written all the same.
    let label = CURRENT.try_with(|label| label.try_borrow().ok().and_then(|label| label.clone()));
    match label {
        Ok(Some(label)) => write!(to, "{label}: "),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// A future that runs under a label.
pub(super) struct Labelled<F> {
    label: Option<Arc<Label>>,
    /// None once it has been dropped.
    future: Option<Pin<Box<F>>>,
}

impl<F> Labelled<F> {
    pub(super) fn new(label: Option<Arc<Label>>, future: Pin<Box<F>>) -> Self {
        Self { label, future: Some(future) }
    }

    /// Calls `act` under the label.
    fn under_label<T>(&mut self, act: impl FnOnce(&mut Option<Pin<Box<F>>>) -> T) -> T {
        let mut set = Set(&mut self.label);
        set.swap();
        act(&mut self.future)
    }
}

/// Sets a label for the thread, and resets it when it is dropped, also by a panic.
struct Set<'a>(&'a mut Option<Arc<Label>>);

impl Set<'_> {
    fn swap(&mut self) {
        // A thread that is ending has no label any more.
        let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), self.0));
    }
}

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.swap();
    }
}

impl<F: Future> Future for Labelled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.under_label(|future| match future {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Pending,
        })
    }
}

impl<F> Drop for Labelled<F> {
    fn drop(&mut self) {
        self.under_label(|future| *future = None);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn line() -> String {
        let mut line = String::new();
        write_current(&mut line).unwrap();
        line
    }

    /// Notes its line when it is dropped.
    struct Last(Arc<Mutex<String>>);

    impl Drop for Last {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = line();
        }
    }

    #[tokio::test]
    async fn a_task_has_its_label_wherever_it_is_polled_and_when_it_is_dropped() {
        let at_the_end = Arc::new(Mutex::new(String::new()));
        let last = Last(Arc::clone(&at_the_end));
        let task = async move {
            let _last = last;
            let first = line();
            note_party(&"toy/5c8f582f268d7942f44c6703".parse().unwrap());
            tokio::task::yield_now().await;
            let other =
                Labelled::new(Some(Label::new("http", 1, Ipv4Addr::LOCALHOST.into())), Box::pin(async { line() }));
            (first, other.await, line())
        };
        let labelled = Labelled::new(Some(Label::new("mqtt", 7, Ipv4Addr::LOCALHOST.into())), Box::pin(task));
        let (first, other, later) = labelled.await;
        assert_eq!(first, "connection{protocol=\"mqtt\" number=7 address=127.0.0.1}: ");
        assert_eq!(other, "connection{protocol=\"http\" number=1 address=127.0.0.1}: ");
        let with_party = "connection{protocol=\"mqtt\" number=7 address=127.0.0.1 party=\"toy/5c8f582f…\"}: ";
        assert_eq!(later, with_party);
        assert_eq!(*at_the_end.lock().unwrap(), with_party);
        assert_eq!(line(), "", "the label ends with the task");
    }
}
