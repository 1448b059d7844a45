//! Repeats erasures after a backup was restored that is older than they are.
//!
//! The list of erasures holds hashes, so the items of the restored database are hashed and looked up, once after a
//! restore and before the hub accepts connections.

use super::{Device, chat_mark, device_mark, ended_mark, hidden_mark, message_mark, party_mark, toy_mark};
use crate::domain::Hub;
use crate::domain::error::DomainError;
use crate::model::{ChatId, Party, PartyId, Timestamp, UserId};
use crate::ports::erased;
use crate::ports::store::ChatErasure;

/// The maximum number of devices that are checked.
const DEVICES_MAX: usize = 1_000_000;
/// Messages of a page.
const PAGE: usize = 500;

impl Hub {
    /// After a restore, repeats earlier erasures. Returns their number.
    pub async fn erase_restored(&self, now: Timestamp) -> Result<usize, DomainError> {
        let data = self.config.server.data_dir.clone();
        if !erased::is_restored(&data) {
            return Ok(0);
        }
        self.erase_restored_parties(now).await?;
        self.erase_restored_chats(now).await?;
        let finished = self.finish_erasures(now).await?;
        if self.store.is_on_server() {
            // Other hubs may start now.
            self.store.forget_restore().await?;
        }
        let forgotten = self.disk_workers.run(move || erased::forget_restored(&data)).await?;
        forgotten.map_err(DomainError::internal)?;
        Ok(finished)
    }

    async fn erase_restored_parties(&self, now: Timestamp) -> Result<(), DomainError> {
        let list = &self.erasures.list;
        for device in self.store.devices(DEVICES_MAX).await? {
            let goes = list.has(&device_mark(&device.key));
            match &device.toy {
                Some(toy) if list.has(&toy_mark(toy)) => {
                    let device = if goes { Device::Removed } else { Device::NewSecret };
                    self.erase_toy(None, toy, device, now).await?;
                }
                None if goes => self.remove_device(&device.key).await?,
                _ => {}
            }
        }
        // It sorts before every id.
        let mut last = "0".to_owned();
        loop {
            let page = self.store.users_after(&last).await?;
            let Some(end) = page.last().cloned() else { return Ok(()) };
            for user in page {
                let user: UserId = user.parse().map_err(DomainError::internal)?;
                if list.has(&party_mark(&Party::User(user.clone()))) {
                    self.store.begin_user_erasure(&user, now).await?;
                }
            }
            last = end;
        }
    }

    async fn erase_restored_chats(&self, now: Timestamp) -> Result<(), DomainError> {
        let mut last = "0".to_owned();
        loop {
            let page = self.store.chats_after(&last).await?;
            let Some((end, ..)) = page.last().cloned() else { return Ok(()) };
            for (chat, parties) in page {
                self.erase_restored_chat(&chat, &parties, now).await?;
            }
            last = end.to_string();
        }
    }

    async fn erase_restored_chat(
        &self,
        chat: &ChatId,
        parties: &[PartyId; 2],
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let list = &self.erasures.list;
        let ended_by = parties.iter().find(|party| list.has(&ended_mark(chat, party)));
        if ended_by.is_some() || list.has(&chat_mark(chat)) {
            let (chat, parties, only_of) = (chat.clone(), parties.clone(), ended_by.cloned());
            let chat = ChatErasure { chat, parties, only_of, ends_friendship: true, sounds: Vec::new() };
            self.store.begin_chat_erasure(&chat, now).await?;
            return Ok(());
        }
        let mut first = 1;
        loop {
            let page = self.store.stored_messages(chat, (first, u64::MAX), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            first = last.seq + 1;
            for message in page {
                if list.has(&message_mark(&message.id)) {
                    self.store.begin_message_erasure(&message, parties, now).await?;
                } else if let Some(from) =
                    parties.iter().find(|from| list.has(&hidden_mark(&message.id, from.as_str())))
                {
                    self.store.hide_message(&message, from).await?;
                }
            }
        }
    }
}
