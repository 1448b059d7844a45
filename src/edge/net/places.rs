//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::model::Network;
use crate::ports::metrics::{Count, Entered};

/// How many connections there may be, in all and from one address.
#[derive(Debug)]
pub struct Places {
    all: Semaphore,
    of_address: Mutex<HashMap<Network, usize>>,
    per_address_max: usize,
    /// Those of the process, which each of these takes too.
    of_process: Option<Arc<Places>>,
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// All connections are taken.
    Full,
    /// This address has its share.
    AddressFull,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many connections",
            Self::AddressFull => "too many connections from one address",
        })
    }
}

impl Places {
    /// So many connections in all, and from one address.
    pub fn new(max: usize, per_address_max: usize) -> Arc<Self> {
        // A semaphore panics above its own maximum, which no machine can serve anyway.
        let all = Semaphore::new(max.min(Semaphore::MAX_PERMITS));
        Arc::new(Self { all, of_address: Mutex::default(), per_address_max, of_process: None })
    }

    /// So many connections of one protocol, among those of the process.
    pub fn within(of_process: Arc<Places>, max: usize, per_address_max: usize) -> Arc<Self> {
        let all = Semaphore::new(max.min(Semaphore::MAX_PERMITS));
        Arc::new(Self { all, of_address: Mutex::default(), per_address_max, of_process: Some(of_process) })
    }

    /// A place among all connections. Errors: `Full`.
    pub fn take(self: &Arc<Self>) -> Result<Place, Refusal> {
        self.enter()?;
        Ok(Place { places: Arc::clone(self), _of_address: None, _counted: None })
    }

    /// A place among the connections of `address`. Errors: `AddressFull`.
    pub fn take_of(self: &Arc<Self>, address: IpAddr) -> Result<AddressPlace, Refusal> {
        let network = Network::from(address);
        self.enter_of(network)?;
        Ok(AddressPlace { places: Arc::clone(self), network })
    }

    fn enter(&self) -> Result<(), Refusal> {
        if let Some(process) = &self.of_process {
            process.enter()?;
        }
        let Ok(permit) = self.all.try_acquire() else {
            if let Some(process) = &self.of_process {
                process.leave();
            }
            return Err(Refusal::Full);
        };
        // `leave` gives it back. A permit that is kept would take three times the memory in each connection.
        permit.forget();
        Ok(())
    }

    fn leave(&self) {
        self.all.add_permits(1);
        if let Some(process) = &self.of_process {
            process.leave();
        }
    }

    fn enter_of(&self, network: Network) -> Result<(), Refusal> {
        if let Some(process) = &self.of_process {
            process.enter_of(network)?;
        }
        let mut counts = self.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_default();
        if *count < self.per_address_max {
            *count += 1;
            return Ok(());
        }
        drop(counts);
        if let Some(process) = &self.of_process {
            process.leave_of(network);
        }
        Err(Refusal::AddressFull)
    }

    fn leave_of(&self, network: Network) {
        let mut counts = self.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&network);
            }
        }
        drop(counts);
        if let Some(process) = &self.of_process {
            process.leave_of(network);
        }
    }
}

/// One connection's place; dropping it frees it.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    _of_address: Option<AddressPlace>,
    /// Its count among the open connections of its protocol.
    _counted: Option<Entered>,
}

impl Place {
    /// The same, counted for the connection's address as well.
    pub(super) fn with(mut self, of_address: AddressPlace) -> Self {
        self._of_address = Some(of_address);
        self
    }

    /// The same, counted as an open connection as well.
    pub(super) fn counted(mut self, open: &'static Count) -> Self {
        self._counted = Some(open.enter());
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.leave();
    }
}

/// A place among those of one address; dropping it frees it.
#[derive(Debug)]
pub struct AddressPlace {
    places: Arc<Places>,
    network: Network,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        self.places.leave_of(self.network);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(places: &Arc<Places>, address: &str) -> Result<Place, Refusal> {
        let place = places.take()?;
        Ok(place.with(places.take_of(address.parse().unwrap())?))
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let places = Places::new(3, 2);
        let first = full(&places, "10.0.0.1").unwrap();
        let _second = full(&places, "10.0.0.1").unwrap();
        assert_eq!(full(&places, "10.0.0.1").unwrap_err(), Refusal::AddressFull);
        let third = full(&places, "10.0.0.2").unwrap();
        assert_eq!(full(&places, "10.0.0.3").unwrap_err(), Refusal::Full);
        drop(first);
        let _again = full(&places, "10.0.0.1").unwrap();
        drop(third);
        assert_eq!(places.of_address.lock().unwrap().len(), 1, "addresses without connections are forgotten");
    }

    #[test]
    fn a_refusal_takes_no_place_of_the_process() {
        let process = Places::new(2, 2);
        let (mqtt, http) = (Places::within(Arc::clone(&process), 1, 1), Places::within(Arc::clone(&process), 9, 9));
        let first = full(&mqtt, "10.0.0.1").unwrap();
        assert_eq!(mqtt.take().unwrap_err(), Refusal::Full);
        assert_eq!(mqtt.take_of("10.0.0.1".parse().unwrap()).unwrap_err(), Refusal::AddressFull);
        let second = full(&http, "10.0.0.1").unwrap();
        assert_eq!(http.take().unwrap_err(), Refusal::Full, "the process is full");
        assert_eq!(http.take_of("10.0.0.1".parse().unwrap()).unwrap_err(), Refusal::AddressFull);
        drop((first, second));
        assert_eq!(process.all.available_permits(), 2);
        assert!(process.of_address.lock().unwrap().is_empty());
    }

    #[test]
    fn an_ipv6_household_counts_as_one_address() {
        let places = Places::new(9, 1);
        let _first = full(&places, "2001:db8::1").unwrap();
        assert_eq!(full(&places, "2001:db8::2").unwrap_err(), Refusal::AddressFull);
        assert!(full(&places, "2001:db8:0:1::1").is_ok());
    }
}
