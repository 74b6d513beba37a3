//! Who has read which key: what a server keeps for clients that cache, kept here for them.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::node::ClientKey;

/// Bytes of an entry beside its key: the table's own, and who has read it.
const ENTRY_BYTES: usize = 64;

/// Bytes of each reader that an entry has no room for.
const READER_BYTES: usize = size_of::<Reader>();

/// When the table is full, one in so many goes, so that the next does not cost as much again.
const MAKE_ROOM: usize = 16;

/// A client that has read a key, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) struct Reader {
    pub(in crate::worker) client: ClientKey,
    /// Its last request that reads the key.
    pub(in crate::worker) number: u32,
    /// The watch under which that was sent: while it lasts, every change of the key is told.
    pub(in crate::worker) watch: u32,
}

type Readers = SmallVec<[Reader; 1]>;

/// Keys and their readers.
#[derive(Debug)]
pub(in crate::worker) struct Table {
    keys: HashMap<Box<[u8]>, Readers>,
    bytes: usize,
    bytes_max: usize,
}

impl Table {
    pub(in crate::worker) fn new(bytes_max: usize) -> Table {
        Table { keys: HashMap::new(), bytes: 0, bytes_max }
    }

    /// Notes a reader of this key. Returns whether there is room for it.
    pub(in crate::worker) fn note(&mut self, key: &[u8], reader: Reader) -> bool {
        if let Some(readers) = self.keys.get_mut(key) {
            if let Some(known) = readers.iter_mut().find(|known| known.client == reader.client) {
                *known = reader;
                return true;
            }
            if self.bytes + READER_BYTES > self.bytes_max {
                return false;
            }
            readers.push(reader);
            self.bytes += READER_BYTES;
            return true;
        }
        let bytes = key.len() + ENTRY_BYTES;
        if self.bytes + bytes > self.bytes_max {
            return false;
        }
        self.keys.insert(key.into(), SmallVec::from_buf([reader]));
        self.bytes += bytes;
        true
    }

    /// Takes some keys out, whichever they are, so that there is room again.
    pub(in crate::worker) fn make_room(&mut self) -> Vec<(Box<[u8]>, Readers)> {
        let count = self.keys.len().div_ceil(MAKE_ROOM);
        let taken: Vec<_> = self.keys.extract_if(|_, _| true).take(count).collect();
        for (key, readers) in &taken {
            self.bytes -= weight(key, readers);
        }
        taken
    }

    /// Whether this client has read the key.
    pub(in crate::worker) fn has(&self, key: &[u8], client: ClientKey) -> bool {
        let readers = self.keys.get(key);
        readers.is_some_and(|readers| readers.iter().any(|reader| reader.client == client))
    }

    /// The readers of a key: each is shown to `stays`, and forgotten if that says so.
    pub(in crate::worker) fn told(&mut self, key: &[u8], stays: impl FnMut(Reader) -> bool) {
        let Some(readers) = self.keys.get_mut(key) else { return };
        self.bytes -= weight(key, readers);
        retain(readers, stays);
        if readers.is_empty() {
            self.keys.remove(key);
        } else {
            self.bytes += weight(key, readers);
        }
    }

    /// Shows each key with each reader to `stays`, and forgets the reader if that says so.
    pub(in crate::worker) fn retain(&mut self, mut stays: impl FnMut(&[u8], Reader) -> bool) {
        let mut bytes = 0;
        self.keys.retain(|key, readers| {
            retain(readers, |reader| stays(key, reader));
            bytes += if readers.is_empty() { 0 } else { weight(key, readers) };
            !readers.is_empty()
        });
        self.bytes = bytes;
    }

    /// Forgets everything, and gives the memory back.
    pub(in crate::worker) fn clear(&mut self) {
        self.keys = HashMap::new();
        self.bytes = 0;
    }

    /// How many keys it has.
    pub(in crate::worker) fn len(&self) -> usize {
        self.keys.len()
    }
}

fn retain(readers: &mut Readers, mut stays: impl FnMut(Reader) -> bool) {
    readers.retain(|reader| stays(*reader));
    readers.shrink_to_fit();
}

fn weight(key: &[u8], readers: &Readers) -> usize {
    key.len() + ENTRY_BYTES + READER_BYTES * readers.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(index: u32, number: u32) -> Reader {
        Reader { client: ClientKey { index, generation: 0 }, number, watch: 1 }
    }

    fn readers(table: &mut Table, key: &str) -> Vec<Reader> {
        let mut seen = Vec::new();
        table.told(key.as_bytes(), |reader| {
            seen.push(reader);
            true
        });
        seen
    }

    #[test]
    fn the_last_read_of_each_client_counts() {
        let mut table = Table::new(1000);
        for (key, reader) in [("a", reader(1, 1)), ("a", reader(2, 2)), ("a", reader(1, 3))] {
            assert!(table.note(key.as_bytes(), reader));
        }
        assert_eq!(readers(&mut table, "a"), [reader(1, 3), reader(2, 2)]);
        assert!(table.has(b"a", reader(1, 0).client) && !table.has(b"a", reader(3, 0).client));
        table.told(b"a", |_| false);
        assert_eq!((table.len(), table.bytes), (0, 0));
    }

    #[test]
    fn it_is_bounded_in_bytes_whatever_fills_it() {
        let mut table = Table::new(1000);
        let many = (0..).take_while(|&n| table.note(b"key", reader(n, 0))).count();
        assert!((40..70).contains(&many), "{many}");
        table.clear();
        let many = (0..).take_while(|n| table.note(format!("{n:036}").as_bytes(), reader(0, 0)));
        assert_eq!(many.count(), 10);
        assert!(!table.note(&[b'x'; 1000], reader(0, 0)));
        let gone = table.make_room();
        assert_eq!((gone.len(), table.len()), (1, 9));
        assert!(table.note(&gone[0].0, reader(0, 0)));
        let mut left = 10;
        while !table.make_room().is_empty() {
            left -= 1;
        }
        assert_eq!((left, table.len(), table.bytes), (0, 0, 0));
    }

    #[test]
    fn room_is_made_for_many_at_once() {
        let mut table = Table::new(usize::MAX);
        for n in 0..1600 {
            table.note(format!("{n}").as_bytes(), reader(0, 0));
        }
        assert_eq!((table.make_room().len(), table.len()), (100, 1500));
        table.retain(|key, _| key.len() < 3);
        assert!(table.len() <= 100);
        let bytes = table.bytes;
        table.retain(|_, _| true);
        assert_eq!(table.bytes, bytes);
    }
}
