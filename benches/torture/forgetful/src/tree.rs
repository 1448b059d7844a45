//! Files and folders, in their present state and in their state after a power failure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

pub const ROOT: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Socket,
}

type Names = BTreeMap<OsString, u64>;

#[derive(Debug)]
pub struct Node {
    pub kind: Kind,
    pub mode: u16,
    pub modified: SystemTime,
    pub content: Vec<u8>,
    /// The content on disk.
    synced: Vec<u8>,
    /// Ranges written since the last sync.
    written: Vec<(usize, usize)>,
    /// The shortest length since the last sync.
    shortest: usize,
    /// All lengths since then.
    lengths: Vec<usize>,
    pub names: Names,
    /// The names on disk.
    synced_names: Names,
}

impl Node {
    fn new(kind: Kind, mode: u16) -> Self {
        Self {
            kind,
            mode,
            modified: SystemTime::now(),
            content: Vec::new(),
            synced: Vec::new(),
            written: Vec::new(),
            shortest: 0,
            lengths: Vec::new(),
            names: Names::new(),
            synced_names: Names::new(),
        }
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
            self.lengths.push(end);
        }
        self.content[offset..end].copy_from_slice(bytes);
        match self.written.last_mut() {
            Some((_, last_end)) if *last_end == offset => *last_end = end,
            _ => self.written.push((offset, end)),
        }
        self.modified = SystemTime::now();
    }

    pub fn set_length(&mut self, length: usize) {
        self.content.resize(length, 0);
        self.shortest = self.shortest.min(length);
        self.lengths.push(length);
        self.modified = SystemTime::now();
    }

    /// The content that is on disk if just these ranges were written to it.
    fn with_written(&mut self, wanted: impl Fn(usize) -> bool) {
        self.synced.truncate(self.shortest);
        self.synced.resize(self.content.len(), 0);
        for (number, (start, end)) in self.written.iter().enumerate() {
            let end = (*end).min(self.content.len());
            if *start < end && wanted(number) {
                self.synced[*start..end].copy_from_slice(&self.content[*start..end]);
            }
        }
    }

    fn sync_content(&mut self) {
        self.with_written(|_| true);
        self.forget_changes();
    }

    fn forget_changes(&mut self) {
        self.written.clear();
        self.lengths.clear();
        self.shortest = self.content.len();
    }

    fn sync_names(&mut self) {
        self.synced_names.clone_from(&self.names);
    }

    fn is_whole(&self) -> bool {
        self.written.is_empty() && self.shortest == self.content.len() && self.synced.len() == self.content.len()
    }
}

/// The effects of a power failure.
#[derive(Debug, Default)]
pub struct Lost {
    pub names: usize,
    pub files: usize,
}

/// A small generator of pseudo-random numbers (splitmix64), so that a failure can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }
}

#[derive(Debug)]
pub struct Tree {
    nodes: HashMap<u64, Node>,
    last: u64,
    /// Whether any sync keeps all names.
    journal: bool,
    /// Folders whose names have changed since they were synced.
    changed: HashSet<u64>,
}

impl Tree {
    pub fn new(journal: bool) -> Self {
        let nodes = HashMap::from([(ROOT, Node::new(Kind::Folder, 0o755))]);
        Self { nodes, last: ROOT, journal, changed: HashSet::new() }
    }

    pub fn get(&self, node: u64) -> Option<&Node> {
        self.nodes.get(&node)
    }

    pub fn get_mut(&mut self, node: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&node)
    }

    pub fn child(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.nodes.get(&folder)?.names.get(name).copied()
    }

    fn names(&mut self, folder: u64) -> Option<&mut Names> {
        self.changed.insert(folder);
        self.nodes.get_mut(&folder).map(|node| &mut node.names)
    }

    pub fn add(&mut self, folder: u64, name: &OsStr, kind: Kind, mode: u16) -> u64 {
        self.last += 1;
        let number = self.last;
        self.nodes.insert(number, Node::new(kind, mode));
        self.link(folder, name, number);
        number
    }

    pub fn link(&mut self, folder: u64, name: &OsStr, node: u64) {
        if let Some(names) = self.names(folder) {
            names.insert(name.to_owned(), node);
        }
    }

    /// Removes a name. The node stays: it may be open, or be on disk under this name.
    pub fn unlink(&mut self, folder: u64, name: &OsStr) -> Option<u64> {
        self.names(folder)?.remove(name)
    }

    pub fn sync(&mut self, node: u64) {
        if let Some(node) = self.nodes.get_mut(&node) {
            match node.kind {
                Kind::Folder => node.sync_names(),
                _ => node.sync_content(),
            }
        }
        if self.journal {
            for folder in std::mem::take(&mut self.changed) {
                if let Some(folder) = self.nodes.get_mut(&folder) {
                    folder.sync_names();
                }
            }
        }
    }

    pub fn keep_all(&mut self) {
        for node in self.nodes.values_mut() {
            node.sync_content();
            node.sync_names();
        }
        self.changed.clear();
    }

    /// A power failure. With a seed, some of the data that was not synced remains.
    pub fn lose(&mut self, seed: Option<u64>) -> Lost {
        let mut dice = seed.map(Dice);
        let mut lost = Lost::default();
        let mut numbers: Vec<u64> = self.nodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(node) = self.nodes.get_mut(&number) else { continue };
            if node.kind == Kind::Folder && node.names != node.synced_names {
                lost.names += node.names.iter().filter(|(name, at)| node.synced_names.get(*name) != Some(at)).count();
                if dice.as_mut().is_some_and(|dice| dice.below(2) == 0) {
                    node.sync_names();
                }
            }
            if node.kind == Kind::File && !node.is_whole() {
                lost.files += 1;
                match dice.as_mut().map(|dice| (dice.below(4), dice.below(u64::MAX))) {
                    // Its old content; none, if it is new.
                    None | Some((0, _)) => {}
                    // Some of the writes.
                    Some((1, chosen)) => node.with_written(|number| chosen >> (number % 64) & 1 == 1),
                    // Its length, with zeros in place of what was written.
                    Some((2, _)) => node.with_written(|_| false),
                    // All data up to an earlier length; synced data stays, unless the file was cut.
                    Some((_, chosen)) => {
                        let length = node.lengths.get((chosen % (node.lengths.len() as u64 + 1)) as usize).copied();
                        let synced_length = node.synced.len().min(node.shortest);
                        node.with_written(|_| true);
                        node.synced.truncate(length.unwrap_or(synced_length).max(synced_length));
                    }
                }
            }
            node.content.clone_from(&node.synced);
            node.names.clone_from(&node.synced_names);
            node.forget_changes();
        }
        self.changed.clear();
        self.sweep();
        lost
    }

    /// Removes nodes without a name, and names without a node.
    fn sweep(&mut self) {
        let (mut reached, mut left) = (HashSet::new(), vec![ROOT]);
        while let Some(number) = left.pop() {
            if reached.insert(number)
                && let Some(node) = self.nodes.get(&number)
            {
                left.extend(node.names.values().copied());
            }
        }
        self.nodes.retain(|number, _| reached.contains(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    fn content(tree: &Tree, file: &str) -> Option<Vec<u8>> {
        let node = tree.child(ROOT, name(file))?;
        Some(tree.get(node)?.content.clone())
    }

    #[test]
    fn only_synced_data_survives() {
        let mut tree = Tree::new(false);
        let [kept, unnamed, unsynced] =
            ["kept", "unnamed", "unsynced"].map(|file| tree.add(ROOT, name(file), Kind::File, 0o644));
        for file in [kept, unnamed, unsynced] {
            tree.get_mut(file).unwrap().write(0, b"abc");
        }
        tree.sync(kept);
        tree.unlink(ROOT, name("unnamed"));
        tree.sync(ROOT);
        tree.link(ROOT, name("unnamed"), unnamed);
        tree.sync(unnamed);
        tree.get_mut(kept).unwrap().write(3, b"def");
        tree.lose(None);
        assert_eq!(content(&tree, "kept").unwrap(), b"abc");
        assert_eq!(content(&tree, "unnamed"), None, "its folder was not synced");
        assert_eq!(content(&tree, "unsynced").unwrap(), b"", "its name was synced, its content not");
    }

    #[test]
    fn a_rename_comes_undone_unless_the_folder_is_synced() {
        for synced in [false, true] {
            let mut tree = Tree::new(false);
            let file = tree.add(ROOT, name("new"), Kind::File, 0o644);
            tree.sync(ROOT);
            tree.unlink(ROOT, name("new"));
            tree.link(ROOT, name("named"), file);
            if synced {
                tree.sync(ROOT);
            }
            tree.lose(None);
            assert_eq!((content(&tree, "new").is_some(), content(&tree, "named").is_some()), (!synced, synced));
        }
    }

    #[test]
    fn synced_data_survives_torn_writes() {
        for seed in 0..100 {
            let mut tree = Tree::new(true);
            let file = tree.add(ROOT, name("file"), Kind::File, 0o644);
            tree.get_mut(file).unwrap().write(0, b"abc");
            tree.sync(file);
            for offset in 3..9 {
                tree.get_mut(file).unwrap().write(offset, b"x");
            }
            tree.lose(Some(seed));
            let found = content(&tree, "file").unwrap();
            assert!(found.starts_with(b"abc") && found.len() <= 9, "seed {seed}: {found:?}");
        }
    }

    #[test]
    fn a_file_that_was_cut_and_grew_has_no_old_bytes() {
        let mut tree = Tree::new(true);
        let file = tree.add(ROOT, name("file"), Kind::File, 0o644);
        tree.get_mut(file).unwrap().write(0, b"abcdef");
        tree.sync(file);
        tree.get_mut(file).unwrap().set_length(2);
        tree.get_mut(file).unwrap().write(4, b"x");
        tree.sync(file);
        tree.lose(None);
        assert_eq!(content(&tree, "file").unwrap(), b"ab\0\0x", "and its name was kept by the journal");
    }
}
