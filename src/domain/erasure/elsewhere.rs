//! Erasures that other hubs over the same database server have begun.
//!
//! A hub that dies may leave an erasure unfinished: another one carries it out. And each hub has data that is in no
//! database: sessions, retained messages, uploads in progress, recordings for speech. It hears of an erasure on the bus;
//! what the bus has lost, it finds in the list of erasures.

use std::collections::HashSet;
use std::sync::PoisonError;

use tokio::time::Interval;

use super::party_mark;
use crate::domain::Hub;
use crate::domain::error::DomainError;
use crate::model::{Party, Timestamp};

/// Parties whose marks are read at once.
const AT_ONCE: usize = 256;

impl Hub {
    /// Waits for an erasure that another hub began long ago. Meanwhile, erases here the data of parties that were erased
    /// through other hubs.
    pub(super) async fn left_by_other_hubs(&self, ticks: &mut Interval, clock: fn() -> Timestamp) {
        if !self.store.is_on_server() {
            return std::future::pending().await;
        }
        loop {
            ticks.tick().await;
            match self.look_at_other_hubs(clock()).await {
                Ok(true) => return,
                Ok(false) => {}
                // The check of the server names the reason.
                Err(error) => tracing::debug!(?error, "cannot look for erasures of other hubs"),
            }
        }
    }

    /// Whether an erasure is left by another hub.
    async fn look_at_other_hubs(&self, now: Timestamp) -> Result<bool, DomainError> {
        let here = self.parties_with_data_here().await?;
        for parties in here.chunks(AT_ONCE) {
            let marks: Vec<String> = parties.iter().map(|party| party_mark(party).to_hex()).collect();
            let erased: HashSet<String> = self.store.erased_among(&marks).await?.into_iter().collect();
            for (party, _) in parties.iter().zip(&marks).filter(|(_, mark)| erased.contains(*mark)) {
                self.forget_erased_here(party).await?;
            }
        }
        let age_s = self.config.cluster.erasure_takeover_s;
        Ok(self.store.is_erasure_from_before(now - age_s as Timestamp).await?)
    }

    async fn parties_with_data_here(&self) -> Result<Vec<Party>, DomainError> {
        let mut parties: HashSet<Party> = self.router.parties_with_data().into_iter().collect();
        {
            let stored = self.stored_sessions.lock().unwrap_or_else(PoisonError::into_inner);
            parties.extend(stored.iter().map(|session| session.party.clone()));
        }
        parties.extend(self.parties_of_uploads().await?);
        parties.extend(self.toys_of_recordings().await?.into_iter().map(Party::Toy));
        Ok(parties.into_iter().collect())
    }

    /// Erases what only this hub has of a party that was erased through another one.
    async fn forget_erased_here(&self, party: &Party) -> Result<(), DomainError> {
        self.forget_stored_sessions(party);
        self.cut_off_here(party);
        self.forget_rest_of_erased(party).await?;
        self.router.erase(&[party.id().to_owned()]).await.map_err(DomainError::internal)
    }

    /// Ends the sessions and connections of a party that was erased through another hub.
    pub(in crate::domain) fn cut_off_here(&self, party: &Party) {
        if let Party::Toy(toy) = party {
            self.forget_toy(toy);
        }
        self.forget_retained_here(&party.to_string());
        self.router.end_sessions(party);
        self.end_connections_here(party);
    }

    /// Deletes the presence and the files of a party that was cut off.
    pub(in crate::domain) async fn forget_rest_of_erased(&self, party: &Party) -> Result<(), DomainError> {
        self.leave_in_time(party).await;
        self.router.forget_retained(&format!("online/{}", party.id()));
        self.forget_files_here(party).await
    }
}
