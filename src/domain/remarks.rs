//! Remarks for the operator about clients that the hub cannot serve as they expect. Each is one line in the log, and one
//! of `toyhub doctor` as long as the process runs.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::Hub;

/// The maximum number of remarks.
const REMARKS_MAX: usize = 32;

/// The remarks since the start: the text of each by its subject and object.
#[derive(Default)]
pub(super) struct Remarks(DashMap<(&'static str, String), String>);

impl Hub {
    /// Remarks something once for each subject and `about`, what it is about.
    pub fn remark(&self, subject: &'static str, about: String, text: String) {
        if self.remarks.0.len() >= REMARKS_MAX {
            return;
        }
        if let Entry::Vacant(entry) = self.remarks.0.entry((subject, about)) {
            // Outside the label of the connection, which names its whole address.
            tracing::warn!(parent: None, subject, "{text}");
            entry.insert(text);
        }
    }

    /// All remarks, each with its subject.
    pub fn remarks(&self) -> Vec<(&'static str, String)> {
        let mut remarks: Vec<_> =
            self.remarks.0.iter().map(|remark| (remark.key().clone(), remark.value().clone())).collect();
        remarks.sort();
        remarks.into_iter().map(|((subject, _), text)| (subject, text)).collect()
    }
}
