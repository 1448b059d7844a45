//! The file system's operations, as the kernel asks for them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::tree::{Kind, Node, Tree};

/// Only the mount changes the tree, so the kernel may cache it.
const REMEMBERED: Duration = Duration::from_secs(3600);
const BLOCK_BYTES: u32 = 4096;

type Listing = Vec<(u64, FileType, OsString)>;

pub struct Disk {
    tree: Arc<Mutex<Tree>>,
    /// The contents of open folders, as they were when reading began.
    listings: Mutex<HashMap<u64, Listing>>,
    last_listing: AtomicU64,
}

impl Disk {
    pub fn new(tree: Arc<Mutex<Tree>>) -> Self {
        Self { tree, listings: Mutex::default(), last_listing: AtomicU64::new(0) }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listings(&self) -> MutexGuard<'_, HashMap<u64, Listing>> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, kind: Kind, mode: u32) -> FileAttr {
        let mut tree = self.tree();
        let number = tree.add(parent.0, name, kind, (mode & 0o7777) as u16);
        tree.get(number).map_or_else(|| unreachable!("just added"), |node| attributes(number, node))
    }

    fn remove(&self, parent: INodeNo, name: &OsStr, folder: bool, reply: ReplyEmpty) {
        let mut tree = self.tree();
        let Some(node) = tree.child(parent.0, name) else { return reply.error(Errno::ENOENT) };
        let Some(found) = tree.get(node) else { return reply.error(Errno::ENOENT) };
        match (folder, found.kind) {
            (true, Kind::Folder) if !found.names.is_empty() => reply.error(Errno::ENOTEMPTY),
            (true, Kind::File | Kind::Socket) => reply.error(Errno::ENOTDIR),
            (false, Kind::Folder) => reply.error(Errno::EISDIR),
            _ => {
                tree.unlink(parent.0, name);
                reply.ok();
            }
        }
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
        Kind::Socket => FileType::Socket,
    }
}

fn attributes(number: u64, node: &Node) -> FileAttr {
    let size = node.content.len() as u64;
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: node.modified,
        mtime: node.modified,
        ctime: node.modified,
        crtime: node.modified,
        kind: file_type(node.kind),
        perm: node.mode,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = self.tree();
        match tree.child(parent.0, name).and_then(|number| Some((number, tree.get(number)?))) {
            Some((number, node)) => reply.entry(&REMEMBERED, &attributes(number, node), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree().get(node.0) {
            Some(found) => reply.attr(&REMEMBERED, &attributes(node.0, found)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.tree();
        let Some(found) = tree.get_mut(node.0) else { return reply.error(Errno::ENOENT) };
        if let Some(mode) = mode {
            found.mode = (mode & 0o7777) as u16;
        }
        if let Some(size) = size {
            found.set_length(size as usize);
        }
        match modified {
            Some(TimeOrNow::SpecificTime(time)) => found.modified = time,
            Some(TimeOrNow::Now) => found.modified = SystemTime::now(),
            None => {}
        }
        reply.attr(&REMEMBERED, &attributes(node.0, found));
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: u32, reply: ReplyEntry) {
        let kind = match mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFSOCK => Kind::Socket,
            _ => return reply.error(Errno::EPERM),
        };
        reply.entry(&REMEMBERED, &self.make(parent, name, kind, mode & !umask), Generation(0));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        reply.entry(&REMEMBERED, &self.make(parent, name, Kind::Folder, mode & !umask), Generation(0));
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        let made = self.make(parent, name, Kind::File, mode & !umask);
        reply.created(&REMEMBERED, &made, Generation(0), FileHandle(0), FopenFlags::empty());
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, false, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, true, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut tree = self.tree();
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        if flags.contains(RenameFlags::RENAME_NOREPLACE) && tree.child(new_parent.0, new_name).is_some() {
            return reply.error(Errno::EEXIST);
        }
        match tree.unlink(parent.0, name) {
            Some(node) => {
                tree.link(new_parent.0, new_name, node);
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut tree = self.tree();
        tree.link(parent.0, name, node.0);
        match tree.get(node.0) {
            Some(found) => reply.entry(&REMEMBERED, &attributes(node.0, found), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.tree().get(node.0) {
            Some(found) => {
                let start = (offset as usize).min(found.content.len());
                let end = (start + size as usize).min(found.content.len());
                reply.data(&found.content[start..end]);
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.tree().get_mut(node.0) {
            Some(found) => {
                found.write(offset as usize, data);
                reply.written(data.len() as u32);
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.tree().sync(node.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.tree().sync(node.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let listing = {
            let tree = self.tree();
            let Some(found) = tree.get(node.0) else { return reply.error(Errno::ENOENT) };
            let entry =
                |(name, number): (&OsString, &u64)| Some((*number, file_type(tree.get(*number)?.kind), name.clone()));
            found.names.iter().filter_map(entry).collect()
        };
        let handle = self.last_listing.fetch_add(1, Ordering::Relaxed) + 1;
        self.listings().insert(handle, listing);
        reply.opened(FileHandle(handle), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if let Some(listing) = self.listings().get(&handle.0) {
            for (place, (number, kind, name)) in listing.iter().enumerate().skip(offset as usize) {
                if reply.add(INodeNo(*number), place as u64 + 1, *kind, name) {
                    break;
                }
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings().remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = 1 << 20;
        reply.statfs(blocks, blocks, blocks, blocks, blocks, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
