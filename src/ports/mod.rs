//! The ports of the domain: the database, files, sound, speech, the topic router.
//!
//! A port imports the model and its own libraries, never the domain or an edge.

pub mod archive;
pub mod audio;
pub mod backup;
pub mod bus;
pub mod certificate;
pub mod chunks;
pub mod clock;
pub mod data_folder;
pub mod erased;
pub mod files;
pub mod metrics;
pub mod outgoing;
pub mod pem;
pub mod progress;
pub mod push;
pub mod qr;
pub mod reply;
pub mod router;
pub mod space;
pub mod speech;
pub mod store;
pub mod workers;
pub mod zone;
