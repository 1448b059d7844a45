//! Address books, blocks, and the end of a friendship.

use std::sync::atomic::Ordering;

use super::Hub;
use super::cluster::is_lost;
use super::content::avatar;
use super::error::DomainError;
use crate::model::{Action, ChatId, Event, FileName, Friend, Party, PartyId, Timestamp, UserId};
use crate::ports::bus::Notice;
use crate::ports::store::{Block, Refusal, StoreError, Unfriended};

impl Hub {
    /// A party's address book, with the number of unread messages of each friend.
    pub async fn friends(&self, party: &Party) -> Result<Vec<Friend>, DomainError> {
        Ok(self.store.friends(party).await?)
    }

    /// Ends a friendship on both sides, with the subscriptions to the topics of the two, and deletes the friend requests
    /// between them. The chat stays: each party may still read the messages that it was sent. Errors: `NotFriends`,
    /// `Invalid` for a toy and its guardian.
    pub async fn unfriend(
        &self,
        by: &UserId,
        owner: &Party,
        friend: &PartyId,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        self.check_no_guardian(owner, friend).await?;
        let removed = self.store.unfriend(owner, friend).await?;
        self.part(by, owner, removed, now).await;
        Ok(())
    }

    /// Records that a user has ended a friendship, and notifies both sides.
    async fn part(&self, by: &UserId, owner: &Party, removed: Unfriended, now: Timestamp) {
        self.note_pair((owner, &removed.friend), Action::Parted, Some(by), now).await;
        self.end_friendship(owner, removed).await;
    }

    /// Blocks another party: the friendship ends, and later friend requests of the other party and its toys are
    /// answered with success and dropped. The block of a user applies to requests to its toys, too. The block has the
    /// name of the other party only if it is a friend, or has made a request to the user or one of the user's toys.
    /// Errors: `UnknownParty`, `SelfRequest`, `Invalid` for a toy and its guardian, `Full`, `DiskFull`.
    pub async fn block(&self, by: &UserId, owner: &Party, other: &PartyId, now: Timestamp) -> Result<(), DomainError> {
        if owner.id() == other.as_str() {
            return Err(DomainError::SelfRequest);
        }
        self.check_room(0)?;
        let (party, _) = self.store.party(other).await?.ok_or(DomainError::UnknownParty)?;
        self.check_no_guardian(owner, other).await?;
        let own = self.with_toys(by).await?;
        let (name, avatar) = match self.store.disclosed_name(owner, own.clone(), &party).await? {
            Some(disclosed) => disclosed,
            // Whoever knows an id only, as from a QR code, must not learn the name by a block.
            None => (String::new(), neutral_avatar(&party)?),
        };
        let block = Block { party: party.clone(), name, avatar };
        let blocks_max = self.config.accounts.blocks_max;
        let toys = match &party {
            Party::User(user) => self.store.toys_of(user).await?.iter().map(|toy| toy.id.to_string()).collect(),
            Party::Toy(_) => Vec::new(),
        };
        let owners = self.under_block_of(owner, own);
        let removed =
            self.store.block(owner, &owners, (block, toys), blocks_max, now).await.map_err(|error| match error {
                StoreError::Refused(Refusal::BookFull) => DomainError::Full("blocked user or toy"),
                error => error.into(),
            })?;
        // Not in the audit log of the other party, which must not learn that it is blocked.
        self.note(owner, Action::Blocked, Some(&Party::User(by.clone())), Some(&party), now).await;
        if let Some(removed) = removed {
            self.part(by, owner, removed, now).await;
        }
        Ok(())
    }

    /// The parties to which a block of `owner` applies: a user and its toys, or one toy alone.
    fn under_block_of(&self, owner: &Party, own: Vec<String>) -> Vec<String> {
        match owner {
            Party::User(_) => own,
            Party::Toy(toy) => vec![toy.to_string()],
        }
    }

    /// Mutes a friend, or ends the mute. Messages of a muted friend are stored and counted, and no event is published
    /// for them. At the end of a mute, the unread messages are published to a toy. Errors: `NotFriends`.
    pub async fn mute(&self, owner: &Party, friend: &PartyId, is_muted: bool) -> Result<(), DomainError> {
        self.store.set_muted(owner, friend, is_muted).await?;
        if !is_muted && matches!(owner, Party::Toy(_)) {
            self.announce_unread(owner).await?;
        }
        Ok(())
    }

    /// Removes a block, if there is one.
    pub async fn unblock(
        &self,
        by: &UserId,
        owner: &Party,
        other: &PartyId,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let blocked = self.store.blocks(owner).await?.into_iter().find(|block| block.party.id() == other.as_str());
        let owners = self.under_block_of(owner, self.with_toys(by).await?);
        self.store.unblock(owner, &owners, other).await?;
        if let Some(block) = blocked {
            self.note(owner, Action::Unblocked, Some(&Party::User(by.clone())), Some(&block.party), now).await;
        }
        Ok(())
    }

    /// The parties that a party has blocked.
    pub async fn blocks(&self, owner: &Party) -> Result<Vec<Block>, DomainError> {
        Ok(self.store.blocks(owner).await?)
    }

    /// A toy and its guardian stay friends as long as the guardian has the toy.
    pub(super) async fn check_no_guardian(&self, owner: &Party, friend: &PartyId) -> Result<(), DomainError> {
        let friend = self.store.party(friend).await?;
        let is_guardian = match (owner, friend) {
            (Party::Toy(toy), Some((Party::User(user), _))) => self.is_guardian(&user, toy).await?,
            (Party::User(user), Some((Party::Toy(toy), _))) => self.is_guardian(user, &toy).await?,
            _ => false,
        };
        if is_guardian {
            return Err(DomainError::invalid("friend_id", "a toy and its guardian stay friends while it is bound"));
        }
        Ok(())
    }

    /// Ends the subscriptions of a party to these topics, and to those that begin with one that ends with '/'.
    pub(super) fn end_subscriptions_to(&self, party: &Party, topics: Vec<String>) {
        // A concurrent subscription checks its permission again after this.
        self.revocations.fetch_add(1, Ordering::SeqCst);
        self.router.end_subscriptions(party, |filter| is_lost(&topics, filter.as_str()));
        self.notify_hubs(|| Notice::Lost { party: party.clone(), topics });
    }

    /// Ends the subscriptions of two parties to each other's topics.
    pub(super) fn end_subscriptions(&self, one: &Party, other: &Party, chat: &ChatId) {
        for (party, other) in [(one, other), (other, one)] {
            let lost = vec![format!("chat/{chat}"), format!("online/{}", other.id())];
            self.end_subscriptions_to(party, lost);
        }
    }

    /// Notifies both sides of the end of a friendship, and ends their subscriptions to each other's topics.
    pub(super) async fn end_friendship(&self, owner: &Party, removed: Unfriended) {
        let Unfriended { friend, chat, owner_seq, friend_seq } = removed;
        self.end_subscriptions(owner, &friend, &chat);
        let event = |friend: &Party| Event::FriendRemoved { friend: friend.clone(), chat: chat.clone() };
        self.announce(owner, &event(&friend), owner_seq).await;
        self.announce(&friend, &event(owner), friend_seq).await;
    }
}

/// The picture of a party whose own one is not disclosed.
fn neutral_avatar(party: &Party) -> Result<FileName, DomainError> {
    avatar(match party {
        Party::User(_) => "mama.jpg",
        Party::Toy(_) => "toy.jpg",
    })
}
