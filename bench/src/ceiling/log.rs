//! A log file that is laid out once and then written over and over, so that a sync never waits for
//! the file system to find room.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Length of the file.
const LEN: u64 = 256 << 20;
/// It is laid out in pieces of this length.
const PIECE_LEN: u64 = 1 << 20;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// Where the next batch goes.
    end: u64,
}

impl Log {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let zeros = vec![0; usize::try_from(PIECE_LEN).expect("a piece fits into memory")];
        for piece in 0..LEN / PIECE_LEN {
            file.write_all_at(&zeros, piece * PIECE_LEN)?;
        }
        file.sync_all()?;
        Ok(Log { file, end: 0 })
    }

    /// Adds the checksum to a batch, writes both, and syncs.
    pub(super) fn append(&mut self, batch: &mut Vec<u8>) -> io::Result<()> {
        let checksum = sampan_protocol::checksum(batch);
        batch.extend_from_slice(&checksum.to_le_bytes());
        let len = u64::try_from(batch.len()).expect("a usize has 64 bits at most");
        if self.end + len > LEN {
            self.end = 0;
        }
        self.file.write_all_at(batch, self.end)?;
        self.end += len;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_written_from_the_beginning_again_when_it_is_full() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = Log::create(&path).expect("laid out");
        log.append(&mut vec![7; 100]).expect("written");
        assert_eq!(log.end, 104);
        log.end = LEN - 103;
        log.append(&mut vec![9; 100]).expect("written");
        assert_eq!(log.end, 104);
        let written = std::fs::read(&path).expect("readable");
        assert_eq!(written.len(), usize::try_from(LEN).expect("fits"));
        assert_eq!((written[0], written[99]), (9, 9));
        let checksum = sampan_protocol::checksum(&[9; 100]);
        assert_eq!(written[100..104], checksum.to_le_bytes());
    }
}
