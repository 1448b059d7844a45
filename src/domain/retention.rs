//! Retention: periodically deletes data that is older than `[retention]` permits.

use std::time::Duration;

use super::error::DomainError;
use super::housekeeping::system_time;
use super::units::{DAY, DAY_S, HOUR_S};
use super::{Hub, clock};
use crate::model::{ChatId, PartyId, Timestamp};

/// The time after a jump of the clock in which nothing is deleted.
const SETTLED_MIN: Duration = DAY;
/// The number of messages that one transaction deletes.
const BATCH: usize = 100;

impl Hub {
    /// Deletes all data that is too old.
    pub(super) async fn sweep_old(&self, now: Timestamp) -> Result<(), DomainError> {
        if self.store.is_on_server() {
            // Whatever the clock: these are easily replaced.
            self.store.delete_tickets_before(clock::age_of(now)).await?;
            self.store.delete_expired_retained(clock::age_of(now)).await?;
            self.store.delete_session_owners_before(clock::age_of(now)).await?;
            self.store.delete_asked_before(clock::age_of(now)).await?;
        }
        // Whatever the clock: the start has done this, unless it failed.
        self.delete_unpermitted_words(now).await?;
        // A clock that is wrong for a while deletes nothing.
        if clock::settled_for() < SETTLED_MIN {
            return Ok(());
        }
        let retention = &self.config.retention;
        let before = |days: u32| now - f64::from(days) * DAY_S;
        if retention.messages_days > 0 {
            let swept = self.sweep_messages(before(retention.messages_days)).await?;
            if swept > 0 {
                tracing::info!(swept, "messages deleted that were older than retention.messages_days");
            }
        }
        if retention.requests_days > 0 {
            self.store.delete_requests_before(before(retention.requests_days)).await?;
        }
        let pause_s = f64::from(self.config.accounts.refused_request_pause_h) * HOUR_S;
        self.store.delete_refusals_before(clock::age_of(now) - pause_s).await?;
        let tokens_before = clock::age_of(now) - f64::from(retention.tokens_days) * DAY_S;
        self.store.delete_tokens_expired_before(tokens_before).await?;
        self.store.delete_lost_pushes().await?;
        if retention.audit_days > 0 {
            self.store.delete_audit_before(before(retention.audit_days)).await?;
        }
        self.store.delete_kept_words_before(self.words_since(now)).await?;
        if let Some(before) = self.lost_before(system_time(now)) {
            self.files.sweep_lost(before).await.map_err(DomainError::internal)?;
        }
        Ok(())
    }

    async fn sweep_messages(&self, before: Timestamp) -> Result<usize, DomainError> {
        let mut swept = 0;
        // It sorts before every id.
        let mut last = "0".to_owned();
        loop {
            let page = self.store.chats_after(&last).await?;
            let Some((end, _)) = page.last().cloned() else { return Ok(swept) };
            for (chat, parties) in page {
                swept += self.sweep_chat(&chat, &parties, before).await?;
            }
            last = end.to_string();
        }
    }

    async fn sweep_chat(&self, chat: &ChatId, parties: &[PartyId; 2], before: Timestamp) -> Result<usize, DomainError> {
        let (mut swept, mut notices) = (0, Vec::new());
        loop {
            // Times rise with the numbers, so the old messages are at the beginning.
            let mut batch = self.store.stored_messages(chat, (1, u64::MAX), BATCH).await?;
            let is_last = batch.len() < BATCH;
            let old = batch.iter().take_while(|message| message.created_at < before).count();
            let is_last = is_last || old < batch.len();
            batch.truncate(old);
            self.delete_messages(chat, parties, &batch).await?;
            swept += batch.len();
            notices.extend(batch.into_iter().filter_map(|message| message.notice));
            if is_last {
                break;
            }
        }
        if swept > 0 {
            notices.sort();
            notices.dedup();
            self.delete_sounds(&notices).await?;
        }
        Ok(swept)
    }
}
