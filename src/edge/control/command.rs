//! The commands of the command line to the hub, and their answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A party, as the operator names it.
#[derive(Debug, Serialize, Deserialize)]
pub enum PartyName {
    /// A user's, by name.
    User(String),
    /// A toy's, by id.
    Toy(String),
}

/// A command of the command line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Creates devices.
    AddDevices {
        /// The number of devices.
        count: usize,
        /// The key of the device, which is the only one then. Default: random keys.
        #[serde(default)]
        key: Option<String>,
    },
    /// Adds the devices of a file. The hub reads the file itself, with its own permissions.
    ImportDevices {
        /// The file.
        file: PathBuf,
    },
    /// Removes devices that are not bound.
    RemoveDevices {
        /// Their keys.
        keys: Vec<String>,
    },
    /// The equipment library.
    ListDevices,
    /// Adds a piece of content. The hub reads the files itself, with its own permissions.
    AddContent {
        /// The title.
        title: String,
        /// The sound file.
        sound: PathBuf,
        /// The picture file.
        cover: PathBuf,
        /// The name under which the sound is stored. Default: a random one.
        #[serde(default)]
        name: Option<String>,
    },
    /// Adds the pieces of a list. The hub reads the list and its files itself, with its own permissions.
    ImportContent {
        /// The list.
        file: PathBuf,
    },
    /// The content library.
    ListContent,
    /// The users.
    ListUsers,
    /// Revokes every token of a user.
    LogOut {
        /// The user's name.
        user: String,
    },
    /// Unbinds a toy and erases its data.
    UnbindToy {
        /// The toy's id.
        toy: String,
        /// Whether the device gets a new key.
        new_key: bool,
    },
    /// Erases a toy with its device.
    EraseToy {
        /// The toy's id.
        toy: String,
    },
    /// Erases a user with the user's toys.
    EraseUser {
        /// The user's name.
        user: String,
    },
    /// Exports the data of a user and the user's toys to a new file.
    Export {
        /// The user's name.
        user: String,
        /// The file.
        to: PathBuf,
    },
    /// Finishes all erasures.
    FinishErasures,
    /// Gives a device a new secret.
    RenewDevice {
        /// Its key.
        key: String,
    },
    /// Sets whether calls for a party always need a token.
    OnlyToken {
        /// The party.
        party: PartyName,
        /// Whether its calls always need a token.
        is_on: bool,
    },
    /// Permits a toy to open once at a new address.
    LetToyIn {
        /// The toy's id.
        toy: String,
    },
    /// Creates an invitation.
    Invite {
        /// The id of the toy whose guardian the invited user becomes.
        toy: Option<String>,
        /// The toy's remark for the new guardian.
        remark: String,
    },
    /// The audit log of a party.
    Audit {
        /// The party.
        party: PartyName,
    },
    /// The consent that was given when a toy was bound.
    Consent {
        /// The toy's id.
        toy: String,
    },
    /// The guardians of a toy.
    ListGuardians {
        /// The toy's id.
        toy: String,
    },
    /// Removes a guardian of a toy.
    RemoveGuardian {
        /// The toy's id.
        toy: String,
        /// The user's name.
        user: String,
    },
    /// Gives a user a new password.
    SetPassword {
        /// The user's name.
        user: String,
        /// The password. Default: a random one.
        password: Option<String>,
    },
    /// Gives the operator of the console a new password.
    SetOperatorPassword {
        /// The password. Default: a random one.
        password: Option<String>,
    },
    /// Prints the settings of a toy.
    ToySettings {
        /// The toy's id.
        toy: String,
    },
    /// Sets the quiet hours of a toy; with empty times, removes them.
    SetQuietHours {
        /// The toy's id.
        toy: String,
        /// Their daily start.
        from: String,
        /// Their daily end.
        until: String,
        /// The time zone.
        zone: String,
    },
    /// Sets how many minutes a toy plays on each day; without a number there is no limit.
    SetDailyMinutes {
        /// The toy's id.
        toy: String,
        /// The minutes.
        minutes: Option<u32>,
        /// The time zone.
        zone: String,
    },
    /// Sets whether a toy plays only approved content.
    SetContent {
        /// The toy's id.
        toy: String,
        /// Whether only approved content is permitted.
        is_approved_only: bool,
    },
    /// Approves a piece of content for a toy, or revokes the approval.
    Approve {
        /// The toy's id.
        toy: String,
        /// The id of the piece.
        content: String,
        /// Whether it is approved.
        is_approved: bool,
    },
    /// Sets the voice of a toy.
    SetToyVoice {
        /// The toy's id.
        toy: String,
        /// The voice. Default: that of the hub.
        voice: Option<String>,
        /// The pace in percent.
        speed: u16,
    },
    /// Checks the consistency of the stored data.
    Examine {
        /// Whether to repair faults.
        repair: bool,
    },
    /// Adds a snapshot to a folder of backups.
    BackUp {
        /// The folder.
        to: PathBuf,
        /// The number of snapshots to keep. Default: all.
        keep: Option<usize>,
    },
}

/// An answer of the hub.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// New devices.
    Devices(Vec<DeviceLine>),
    /// Lines to print.
    Lines(Vec<String>),
    /// The result of a check of the stored data.
    Examined {
        /// Lines to print.
        lines: Vec<String>,
        /// Remaining faults that a repair may fix.
        open: usize,
        /// Losses that cannot be repaired.
        lost: usize,
    },
    /// The error.
    Failed(String),
}

/// A device as the command line prints it.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeviceLine {
    /// The key, on the QR picture.
    pub key: String,
    /// The secret, shown once.
    pub secret: String,
}
