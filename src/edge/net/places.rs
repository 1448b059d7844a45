//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::Network;
use crate::ports::metrics::{Count, Entered};

/// How many connections there may be, in all and from one address.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
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
        let all = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { all, of_address: Mutex::default(), per_address_max, of_process: None })
    }

    /// So many connections of one protocol, among those of the process.
    pub fn within(of_process: Arc<Places>, max: usize, per_address_max: usize) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { all, of_address: Mutex::default(), per_address_max, of_process: Some(of_process) })
    }

    /// A place among all connections. Errors: `Full`.
    pub fn take(&self) -> Result<Place, Refusal> {
        let in_process = self.of_process.as_ref().map(|process| process.take()).transpose()?;
        let permit = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Refusal::Full)?;
        Ok(Place { _permit: permit, _of_address: None, _in_process: in_process.map(Box::new), _counted: None })
    }

    /// A place among the connections of `address`. Errors: `AddressFull`.
    pub fn take_of(self: &Arc<Self>, address: IpAddr) -> Result<AddressPlace, Refusal> {
        let network = Network::from(address);
        let in_process = self.of_process.as_ref().map(|process| process.take_of(address)).transpose()?;
        let mut counts = self.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_default();
        if *count >= self.per_address_max {
            return Err(Refusal::AddressFull);
        }
        *count += 1;
        Ok(AddressPlace { places: Arc::clone(self), network, _in_process: in_process.map(Box::new) })
    }
}

/// One connection's place; dropping it frees it.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _of_address: Option<AddressPlace>,
    _in_process: Option<Box<Place>>,
    /// Its count among the open connections of its protocol.
    _counted: Option<Entered>,
}

impl Place {
    /// The same, counted for the connection's address as well.
    pub(super) fn with(self, of_address: AddressPlace) -> Self {
        Self { _of_address: Some(of_address), ..self }
    }

    /// The same, counted as an open connection as well.
    pub(super) fn counted(self, open: &'static Count) -> Self {
        Self { _counted: Some(open.enter()), ..self }
    }
}

/// A place among those of one address; dropping it frees it.
#[derive(Debug)]
pub struct AddressPlace {
    places: Arc<Places>,
    network: Network,
    _in_process: Option<Box<AddressPlace>>,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.places.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
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
    fn an_ipv6_household_counts_as_one_address() {
        let places = Places::new(9, 1);
        let _first = full(&places, "2001:db8::1").unwrap();
        assert_eq!(full(&places, "2001:db8::2").unwrap_err(), Refusal::AddressFull);
        assert!(full(&places, "2001:db8:0:1::1").is_ok());
    }
}
