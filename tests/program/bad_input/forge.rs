//! Hand-made Parquet files, so that any part of them may be wrong.
//!
//! The footer and the page headers are Thrift structs in the compact protocol. Field and enum numbers are
//! from <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

/// A Thrift value.
#[derive(Clone)]
pub enum Thrift {
    I32(i64),
    I64(i64),
    Binary(Vec<u8>),
    Structs(Vec<Fields>),
    /// A set in place of a list.
    Set(Vec<Fields>),
    I32s(Vec<i64>),
    Strings(Vec<String>),
    Struct(Fields),
    /// A list of structs that declares this length and has no elements.
    EndlessList(u64),
    /// A string that declares this length and has no bytes.
    EndlessBinary(u64),
}

/// The fields of a struct in ascending order of field ID.
pub type Fields = Vec<(i16, Thrift)>;

impl Thrift {
    fn kind(&self) -> u8 {
        match self {
            Thrift::I32(_) => 5,
            Thrift::I64(_) => 6,
            Thrift::Binary(_) | Thrift::EndlessBinary(_) => 8,
            Thrift::Structs(_) | Thrift::I32s(_) | Thrift::Strings(_) | Thrift::EndlessList(_) => 9,
            Thrift::Set(_) => 10,
            Thrift::Struct(_) => 12,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Thrift::I32(number) | Thrift::I64(number) => zigzag(out, *number),
            Thrift::Binary(bytes) => {
                varint(out, bytes.len() as u64);
                out.extend(bytes);
            }
            Thrift::Structs(list) | Thrift::Set(list) => {
                list_header(out, list.len() as u64, 12);
                list.iter().for_each(|fields| write_struct(out, fields));
            }
            Thrift::I32s(list) => {
                list_header(out, list.len() as u64, 5);
                list.iter().for_each(|number| zigzag(out, *number));
            }
            Thrift::Strings(list) => {
                list_header(out, list.len() as u64, 8);
                for text in list {
                    varint(out, text.len() as u64);
                    out.extend(text.as_bytes());
                }
            }
            Thrift::Struct(fields) => write_struct(out, fields),
            Thrift::EndlessList(length) => list_header(out, *length, 12),
            Thrift::EndlessBinary(length) => varint(out, *length),
        }
    }
}

pub fn write_struct(out: &mut Vec<u8>, fields: &Fields) {
    let mut last = 0;
    for (number, value) in fields {
        out.push(((number - last) as u8) << 4 | value.kind());
        value.write(out);
        last = *number;
    }
    out.push(0);
}

pub fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub fn zigzag(out: &mut Vec<u8>, number: i64) {
    varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn list_header(out: &mut Vec<u8>, length: u64, kind: u8) {
    if length < 15 {
        out.push((length as u8) << 4 | kind);
    } else {
        out.push(0xf0 | kind);
        varint(out, length);
    }
}

/// A Parquet file under construction.
#[derive(Clone)]
pub struct Forged {
    /// The schema as the footer lists it: the root first, then depth first.
    pub schema: Vec<Element>,
    /// Rows as declared in the footer.
    pub rows: i64,
    pub groups: Vec<Group>,
    pub entries: Vec<(String, String)>,
    /// The final change to the fields of the footer.
    pub twist: fn(&mut Fields),
}

/// A node of the schema tree.
#[derive(Clone)]
pub struct Element {
    pub name: String,
    pub physical: Option<i64>,
    pub length: Option<i64>,
    pub repetition: Option<i64>,
    pub children: Option<i64>,
    pub converted: Option<i64>,
}

#[derive(Clone)]
pub struct Group {
    pub rows: i64,
    pub chunks: Vec<Chunk>,
}

/// A column chunk: the data of one column in a row group.
#[derive(Clone)]
pub struct Chunk {
    pub path: Vec<String>,
    pub physical: i64,
    pub codec: i64,
    /// Values as declared in the footer.
    pub values: i64,
    pub pages: Vec<Page>,
    /// False values for the footer, in place of the true ones.
    pub offset: Option<i64>,
    pub compressed: Option<i64>,
    pub uncompressed: Option<i64>,
    pub file: Option<String>,
    pub without_metadata: bool,
}

#[derive(Clone)]
pub struct Page {
    pub kind: i64,
    pub values: i64,
    pub encoding: i64,
    /// The bytes as stored in the file, compressed if the chunk has a codec.
    pub body: Vec<u8>,
    /// False values for the header, in place of the true ones.
    pub uncompressed: Option<i64>,
    pub compressed: Option<i64>,
    pub crc: Option<i64>,
    /// Replaces the header.
    pub header: Option<Vec<u8>>,
    /// Page version 2: rows, and bytes of the repetition and definition levels.
    pub levels: (i64, i64, i64),
}

pub const BYTE_ARRAY: i64 = 6;
pub const FIXED_LEN_BYTE_ARRAY: i64 = 7;
pub const OPTIONAL: i64 = 1;
pub const REPEATED: i64 = 2;
pub const PLAIN: i64 = 0;
pub const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
pub const DELTA_BYTE_ARRAY: i64 = 7;
pub const RLE_DICTIONARY: i64 = 8;
pub const ZSTD: i64 = 6;
const UTF8: i64 = 0;
const LIST: i64 = 3;
const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;
const DATA_PAGE_V2: i64 = 3;

impl Element {
    pub fn group(name: &str, children: usize) -> Self {
        Element {
            name: name.to_owned(),
            physical: None,
            length: None,
            repetition: (name != "schema").then_some(OPTIONAL),
            children: Some(children as i64),
            converted: None,
        }
    }

    pub fn string(name: &str, repetition: i64) -> Self {
        Element {
            name: name.to_owned(),
            physical: Some(BYTE_ARRAY),
            length: None,
            repetition: Some(repetition),
            children: None,
            converted: Some(UTF8),
        }
    }

    /// The three schema nodes of a list of strings.
    pub fn list(name: &str) -> [Element; 3] {
        let outer = Element { converted: Some(LIST), ..Element::group(name, 1) };
        let middle = Element { repetition: Some(REPEATED), ..Element::group("list", 1) };
        [outer, middle, Element::string("element", OPTIONAL)]
    }
}

impl Page {
    pub fn data(values: usize, encoding: i64, body: Vec<u8>) -> Self {
        Page {
            kind: DATA_PAGE,
            values: values as i64,
            encoding,
            body,
            uncompressed: None,
            compressed: None,
            crc: None,
            header: None,
            levels: (0, 0, 0),
        }
    }

    /// A dictionary page of these strings.
    pub fn dictionary(texts: &[&str]) -> Self {
        let texts: Vec<Option<&str>> = texts.iter().copied().map(Some).collect();
        let body = plain(&texts);
        Page { kind: DICTIONARY_PAGE, ..Page::data(texts.len(), PLAIN, body) }
    }

    /// A version 2 page, whose levels take `repetition` and `definition` bytes at the start of `body`.
    pub fn version_2(values: usize, body: Vec<u8>, repetition: i64, definition: i64) -> Self {
        Page {
            kind: DATA_PAGE_V2,
            levels: (values as i64, repetition, definition),
            ..Page::data(values, PLAIN, body)
        }
    }

    /// Stores the body's CRC in the header.
    pub fn with_crc(mut self) -> Self {
        self.crc = Some(i64::from(crc32(&self.body) as i32));
        self
    }

    fn write(&self, out: &mut Vec<u8>) {
        let size = self.body.len() as i64;
        let mut fields: Fields = vec![
            (1, Thrift::I32(self.kind)),
            (2, Thrift::I32(self.uncompressed.unwrap_or(size))),
            (3, Thrift::I32(self.compressed.unwrap_or(size))),
        ];
        fields.extend(self.crc.map(|crc| (4, Thrift::I32(crc))));
        let (values, encoding) = (Thrift::I32(self.values), Thrift::I32(self.encoding));
        let rle = Thrift::I32(3);
        match self.kind {
            DATA_PAGE => fields.push((
                5,
                Thrift::Struct(vec![(1, values), (2, encoding), (3, rle.clone()), (4, rle)]),
            )),
            DICTIONARY_PAGE => {
                fields.push((7, Thrift::Struct(vec![(1, values), (2, encoding)])));
            }
            DATA_PAGE_V2 => {
                let (rows, repetition, definition) = self.levels;
                fields.push((
                    8,
                    Thrift::Struct(vec![
                        (1, values),
                        (2, Thrift::I32(0)),
                        (3, Thrift::I32(rows)),
                        (4, encoding),
                        (5, Thrift::I32(definition)),
                        (6, Thrift::I32(repetition)),
                    ]),
                ));
            }
            _ => {}
        }
        match &self.header {
            Some(header) => out.extend(header),
            None => write_struct(out, &fields),
        }
        out.extend(&self.body);
    }
}

impl Chunk {
    pub fn new(name: &str, rows: usize, pages: Vec<Page>) -> Self {
        Chunk {
            path: vec![name.to_owned()],
            physical: BYTE_ARRAY,
            codec: 0,
            values: rows as i64,
            pages,
            offset: None,
            compressed: None,
            uncompressed: None,
            file: None,
            without_metadata: false,
        }
    }

    /// A column of optional strings in one PLAIN page.
    pub fn strings(name: &str, texts: &[Option<&str>]) -> Self {
        let present: Vec<bool> = texts.iter().map(Option::is_some).collect();
        let mut body = levels(&present);
        body.extend(plain(texts));
        Chunk::new(name, texts.len(), vec![Page::data(texts.len(), PLAIN, body)])
    }

    /// A column of optional strings with `text` in every row, in a few bytes.
    pub fn repeated(name: &str, text: &str, rows: usize) -> Self {
        let mut body = prefixed(&run(rows as u64, 1));
        // Dictionary indexes of one bit each, all zero.
        body.push(1);
        body.extend(run(rows as u64, 0));
        let pages = vec![Page::dictionary(&[text]), Page::data(rows, RLE_DICTIONARY, body)];
        Chunk::new(name, rows, pages)
    }

    /// A column of optional strings, all null, in a few bytes.
    pub fn nulls(name: &str, rows: usize) -> Self {
        Chunk::new(name, rows, vec![Page::data(rows, PLAIN, prefixed(&run(rows as u64, 0)))])
    }

    /// [`Chunk::repeated`] with a text of `size` dashes, compressed to a few bytes. Call [`Chunk::sealed`] at
    /// the end.
    pub fn swollen(name: &str, size: usize, rows: usize) -> Self {
        let mut chunk = Chunk::repeated(name, "", rows);
        chunk.codec = ZSTD;
        let dictionary = &mut chunk.pages[0];
        dictionary.body = zstd(&(size as u32).to_le_bytes(), b'-', size);
        dictionary.uncompressed = Some(4 + size as i64);
        chunk
    }

    /// Wraps the last page, after manual changes, in a zstd frame without compression.
    pub fn sealed(mut self) -> Self {
        let page = self.pages.last_mut().expect("a page");
        page.uncompressed = Some(page.body.len() as i64);
        page.body = zstd(&page.body, 0, 0);
        self
    }

    /// Compresses every page with zstd run-length blocks: each page decodes to `size` bytes of `byte`.
    pub fn zstd_run(mut self, byte: u8, size: usize) -> Self {
        self.codec = ZSTD;
        for page in &mut self.pages {
            page.body = zstd(&[], byte, size);
            page.uncompressed = Some(size as i64);
        }
        self
    }
}

impl Forged {
    /// Three valid tasks; `id`, `title` and `description` are optional strings.
    pub fn tasks() -> Self {
        let columns = [
            Chunk::strings("id", &[Some("T-1"), Some("T-2"), Some("T-3")]),
            Chunk::strings("title", &[Some("Fix login"), Some("Add export"), None]),
            Chunk::strings("description", &[None, Some("as a CSV file"), Some("slow query")]),
        ];
        Forged::of(3, columns.to_vec())
    }

    /// A file with one row group of these flat columns.
    pub fn of(rows: usize, chunks: Vec<Chunk>) -> Self {
        let mut schema = vec![Element::group("schema", chunks.len())];
        schema.extend(chunks.iter().map(|chunk| Element::string(&chunk.path[0], OPTIONAL)));
        Forged {
            schema,
            rows: rows as i64,
            groups: vec![Group { rows: rows as i64, chunks }],
            entries: Vec::new(),
            twist: |_| (),
        }
    }

    /// Adds a column of lists of strings.
    pub fn with_list(mut self, name: &str, mut chunk: Chunk) -> Self {
        self.schema[0].children = self.schema[0].children.map(|children| children + 1);
        self.schema.extend(Element::list(name));
        chunk.path = [name, "list", "element"].map(str::to_owned).to_vec();
        self.groups[0].chunks.push(chunk);
        self
    }

    /// Changes the second column, `title`.
    pub fn title(mut self, change: impl FnOnce(&mut Chunk)) -> Self {
        change(&mut self.groups[0].chunks[1]);
        self
    }

    /// Changes the only page of the second column.
    pub fn page(self, change: impl FnOnce(&mut Page)) -> Self {
        self.title(|title| change(&mut title.pages[0]))
    }

    /// Applies any change.
    pub fn with(mut self, change: impl FnOnce(&mut Forged)) -> Self {
        change(&mut self);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"PAR1".to_vec();
        let mut groups = Vec::new();
        for group in &self.groups {
            let chunks: Vec<Fields> =
                group.chunks.iter().map(|chunk| write_chunk(&mut out, chunk)).collect();
            groups.push(vec![
                (1, Thrift::Structs(chunks)),
                (2, Thrift::I64(out.len() as i64)),
                (3, Thrift::I64(group.rows)),
            ]);
        }
        let schema = self.schema.iter().map(|element| {
            let mut fields: Fields = Vec::new();
            let mut number = |at: i16, value: Option<i64>| {
                fields.extend(value.map(|value| (at, Thrift::I32(value))));
            };
            number(1, element.physical);
            number(2, element.length);
            number(3, element.repetition);
            fields.push((4, Thrift::Binary(element.name.clone().into_bytes())));
            fields.extend(element.children.map(|children| (5, Thrift::I32(children))));
            fields.extend(element.converted.map(|converted| (6, Thrift::I32(converted))));
            fields
        });
        let entries = self.entries.iter().map(|(key, value)| {
            vec![
                (1, Thrift::Binary(key.clone().into_bytes())),
                (2, Thrift::Binary(value.clone().into_bytes())),
            ]
        });
        let mut footer = vec![
            (1, Thrift::I32(1)),
            (2, Thrift::Structs(schema.collect())),
            (3, Thrift::I64(self.rows)),
            (4, Thrift::Structs(groups)),
            (5, Thrift::Structs(entries.collect())),
            (6, Thrift::Binary(b"parquet-forge version 1.0.0".to_vec())),
        ];
        (self.twist)(&mut footer);
        let start = out.len();
        write_struct(&mut out, &footer);
        let length = (out.len() - start) as u32;
        out.extend(length.to_le_bytes());
        out.extend(b"PAR1");
        out
    }
}

fn write_chunk(out: &mut Vec<u8>, chunk: &Chunk) -> Fields {
    let start = out.len();
    let mut dictionary = None;
    let mut data = start;
    for page in &chunk.pages {
        if page.kind == DICTIONARY_PAGE {
            dictionary = Some(out.len() as i64);
            page.write(out);
            data = out.len();
        } else {
            page.write(out);
        }
    }
    let size = (out.len() - start) as i64;
    let mut metadata: Fields = vec![
        (1, Thrift::I32(chunk.physical)),
        (2, Thrift::I32s(vec![PLAIN, 3, RLE_DICTIONARY])),
        (3, Thrift::Strings(chunk.path.clone())),
        (4, Thrift::I32(chunk.codec)),
        (5, Thrift::I64(chunk.values)),
        (6, Thrift::I64(chunk.uncompressed.unwrap_or(size))),
        (7, Thrift::I64(chunk.compressed.unwrap_or(size))),
        (9, Thrift::I64(chunk.offset.unwrap_or(data as i64))),
    ];
    metadata.extend(dictionary.map(|at| (11, Thrift::I64(at))));
    let mut fields: Fields = Vec::new();
    fields.extend(chunk.file.clone().map(|file| (1, Thrift::Binary(file.into_bytes()))));
    fields.push((2, Thrift::I64(start as i64)));
    if !chunk.without_metadata {
        fields.push((3, Thrift::Struct(metadata)));
    }
    fields
}

/// PLAIN-encoded strings, each after its length; nulls take no bytes.
pub fn plain(texts: &[Option<&str>]) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts.iter().flatten() {
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }
    out
}

/// The definition levels of optional values.
pub fn levels(present: &[bool]) -> Vec<u8> {
    prefixed(&present.iter().flat_map(|present| run(1, u8::from(*present))).collect::<Vec<u8>>())
}

/// Bytes prefixed with their length.
pub fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u32).to_le_bytes().to_vec();
    out.extend(bytes);
    out
}

/// An RLE run of equal values of at most eight bits.
pub fn run(length: u64, value: u8) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, length << 1);
    out.push(value);
    out
}

/// DELTA_BINARY_PACKED integers from `first`, each larger by `step` than the one before.
pub fn delta(count: u64, first: i64, step: i64) -> Vec<u8> {
    const BLOCK: u64 = 1 << 16;
    let mut out = Vec::new();
    varint(&mut out, BLOCK);
    varint(&mut out, 1);
    varint(&mut out, count);
    zigzag(&mut out, first);
    let mut left = count.saturating_sub(1);
    while left > 0 {
        zigzag(&mut out, step);
        // Bit width of the deltas above the minimum, which are all zero.
        out.push(0);
        left = left.saturating_sub(BLOCK);
    }
    out
}

/// A zstd frame (RFC 8878): `start` uncompressed, then `byte` repeated `size` times.
pub fn zstd(start: &[u8], byte: u8, size: usize) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    const RAW: u32 = 0;
    const RUN: u32 = 1;
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd];
    // A single segment with a content size of four bytes.
    out.push(0xa0);
    out.extend(((start.len() + size) as u32).to_le_bytes());
    let mut block = |kind: u32, length: usize, content: &[u8]| {
        let header = (length as u32) << 3 | kind << 1;
        out.extend(&header.to_le_bytes()[..3]);
        out.extend(content);
    };
    start.chunks(BLOCK).for_each(|part| block(RAW, part.len(), part));
    let mut left = size;
    while left > 0 {
        let length = left.min(BLOCK);
        block(RUN, length, &[byte]);
        left -= length;
    }
    // The last block is empty.
    out.extend([1, 0, 0]);
    out
}

/// CRC-32 as in gzip and PNG.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

/// DELTA_BINARY_PACKED: `first`, then one step, then equal values.
pub fn step_once(count: u64, first: i64, step: i64) -> Vec<u8> {
    const BLOCK: u64 = 128;
    let mut out = Vec::new();
    varint(&mut out, BLOCK);
    varint(&mut out, 1);
    varint(&mut out, count);
    zigzag(&mut out, first);
    // The first block: its minimum delta, and the offsets from it in 32 bits each.
    let least = step.min(0);
    zigzag(&mut out, least);
    out.push(32);
    for delta in 0..BLOCK {
        let step = if delta == 0 { step } else { 0 };
        out.extend(((step - least) as u32).to_le_bytes());
    }
    // The other blocks: zero deltas with a bit width of zero.
    let others = (count - 1).div_ceil(BLOCK) - 1;
    out.extend(vec![0; 2 * others as usize]);
    out
}
