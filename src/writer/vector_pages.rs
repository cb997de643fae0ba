//! Where the rows of a vector chunk are: its pages all have the same number of rows, but for the last.

use std::fs::File;
use std::ops::Range;

use parquet::file::page_index::offset_index::PageLocation;

use crate::format::pages::Headers;
use crate::vectors::Element;

/// Bytes of a page before compression. Buffers of this size are reused by the allocator; larger ones
/// come from the system as untouched memory, which takes most of the writing time.
const PAGE_BYTES: usize = 64 << 10;

/// Rows of a page of vectors with `width` elements; the last page of a row group may have fewer.
pub fn rows_per_page(width: usize, element: Element) -> usize {
    (PAGE_BYTES / (width * element.bytes()).max(1)).max(1)
}

/// Where the pages of a vector chunk lie after it was copied to `start`. All but the last have the same
/// number of rows.
pub fn locate_pages(
    file: &File,
    range: Range<u64>,
    start: u64,
    rows_per_page: usize,
) -> Vec<PageLocation> {
    let mut headers = Headers::new(file, range.clone());
    let mut pages = Vec::new();
    loop {
        let at = headers.offset();
        let Some(Some(_)) = headers.next() else { break pages };
        pages.push(PageLocation {
            offset: (start + at - range.start) as i64,
            compressed_page_size: i32::try_from(headers.offset() - at).unwrap_or(i32::MAX),
            first_row_index: (pages.len() * rows_per_page) as i64,
        });
    }
}
