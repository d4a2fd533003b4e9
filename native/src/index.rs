//! The row groups of a weights file, as weights/format/parquet.py writes them, byte for byte; anything else is None
//! and left to the readable reader of weights/format/index.py.

const ALIGN: usize = 64;
const COLUMNS: [&[u8]; 5] = [b"name", b"dtype", b"shape", b"hash", b"data"];
const PAGE_END: &[u8] = b"\x5c\x15\x02\x15\x00\x15\x02\x15\x00\x15\x00\x15\x00\x12\x00\x00";

/// A place in the bytes, from which the next is taken or nothing.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn literal(&mut self, wanted: &[u8]) -> Option<()> {
        let end = self.at.checked_add(wanted.len())?;
        (self.bytes.get(self.at..end)? == wanted).then(|| self.at = end)
    }

    /// A non-negative number, zigzag, in as few bytes as it needs.
    fn number(&mut self) -> Option<usize> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                let shortest = byte != 0 || shift == 0;
                return (shortest && value & 1 == 0).then_some((value >> 1) as usize);
            }
            shift += 7;
            if shift > 56 {
                return None;
            }
        }
    }
}

/// Start and size of the one value of a column chunk that begins behind `end`.
fn value(file: &[u8], footer: &mut Cursor, column: &[u8], end: usize) -> Option<(usize, usize)> {
    footer.literal(b"\x26")?;
    let offset = footer.number()?;
    footer.literal(b"\x1c\x15\x0c\x19\x15\x00\x19\x18")?;
    footer.literal(&[column.len() as u8])?;
    footer.literal(column)?;
    footer.literal(b"\x15\x00\x16\x02\x16")?;
    let total = footer.number()?;
    footer.literal(b"\x16")?;
    let again = footer.number()?;
    footer.literal(b"\x26")?;
    let data_page = footer.number()?;
    footer.literal(b"\x00\x00")?;
    let padding = file.get(end..offset)?;
    if again != total || data_page != offset || padding.len() >= ALIGN {
        return None;
    }
    if padding.iter().any(|&byte| byte != 0) {
        return None;
    }
    let mut page = Cursor {
        bytes: file,
        at: offset,
    };
    page.literal(b"\x15\x06\x15")?;
    let size = page.number()?;
    page.literal(b"\x15")?;
    let stored = page.number()?;
    page.literal(PAGE_END)?;
    let start = page.at.checked_add(4)?;
    let length = file.get(page.at..start)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let stop = start.checked_add(length)?;
    let fits = stored == size
        && length.checked_add(4)? == size
        && stop == offset.checked_add(total)?
        && stop <= file.len().checked_sub(12)?;
    fits.then_some((start, length))
}

/// Start and size of the five values of `count` row groups whose description begins at `at`; where it ends.
pub fn row_groups(file: &[u8], at: usize, out: &mut [[[usize; 2]; 5]]) -> Option<usize> {
    let mut footer = Cursor { bytes: file, at };
    let mut end = 4;
    for places in out {
        let begin = end;
        footer.literal(b"\x19\x5c")?;
        for (place, column) in places.iter_mut().zip(COLUMNS) {
            let (start, size) = value(file, &mut footer, column, end)?;
            end = start + size;
            *place = [start, size];
        }
        footer.literal(b"\x16")?;
        if footer.number()? != end - begin {
            return None;
        }
        footer.literal(b"\x16\x02\x00")?;
    }
    Some(footer.at)
}
