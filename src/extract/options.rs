//! What is wanted of an extraction, and what came of it.

/// What is restored besides names and contents, and whether anything is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent wishes")]
pub struct ExtractOptions {
    /// Owner and group; only root may give files away.
    pub owner: bool,
    /// Set-user-id and set-group-id bits.
    pub special_bits: bool,
    /// Extended attributes, ACLs among them. Those that the system refuses are logged, by kind.
    pub xattrs: bool,
    /// Replace entries that are there already. Directories never are; what they hold is added to.
    pub force: bool,
}

impl Default for ExtractOptions {
    /// What is usual: owners and special bits for root alone.
    fn default() -> Self {
        let root = rustix::process::geteuid().is_root();
        Self {
            owner: root,
            special_bits: root,
            xattrs: true,
            force: false,
        }
    }
}

/// What was extracted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Regular files, by inode.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links, by inode.
    pub symlinks: u64,
    /// Devices, fifos and sockets, by inode.
    pub others: u64,
    /// Further names of hard-linked files.
    pub hard_links: u64,
    /// Bytes of regular files.
    pub bytes: u64,
    /// Entries that are missing or lack something, each reported.
    pub problems: u64,
    /// Extended attributes that the system refused.
    pub refused_xattrs: u64,
}

impl Extracted {
    /// Names that were made.
    pub fn entries(&self) -> u64 {
        self.files + self.directories + self.symlinks + self.others + self.hard_links
    }
}
