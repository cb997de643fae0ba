//! Carried columns keep their bytes: the tables of public bug reports, and random schemas.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, Int64Builder, ListBuilder,
    RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reembed::ErrorKind;
use reembed::events::Warning;
use reembed::format::metadata::FooterBytes;
use reembed::format::output::{self, Columns, VectorColumn};
use reembed::format::projection::{self, Selection, Types};
use reembed::reader::TableFile;
use reembed::vectors::Element;
use reembed::verify::{self, Verdict};

use reembed_encoder::model::fake::Failure;

use super::setup::{fake, run};
use crate::common::Job;

/// The tables of the public reports: where they come from is told in their directory.
fn tables() -> PathBuf {
    reembed_testing::repository().join("tests/interop/tables")
}

/// A job over one of these tables.
fn job_of(table: &str) -> Job {
    let job = Job::new();
    fs::copy(tables().join(table), job.input()).expect("a table");
    job
}

/// A column chunk: row group, path, bytes of its pages.
type ChunkBytes = (usize, String, Vec<u8>);

/// The column chunks of a file, without those of one root column, as its footer describes them.
fn chunks(path: &Path, without: &str) -> Vec<ChunkBytes> {
    let table = TableFile::open(path).expect("a table");
    let metadata = table.metadata().expect("a footer");
    let mut found = Vec::new();
    for number in 0..metadata.group_count() {
        let group = metadata.group(number).expect("a row group");
        for (at, leaf) in metadata.schema.leaves.iter().enumerate() {
            if leaf.path.split('.').next() == Some(without) {
                continue;
            }
            let chunk = group.chunk(at).expect("a chunk");
            let range = chunk.range(metadata.pages_end()).expect("inside of the file");
            let mut bytes = vec![0; (range.end - range.start) as usize];
            table.file().read_exact_at(&mut bytes, range.start).expect("its bytes");
            found.push((number, leaf.path.clone(), bytes));
        }
    }
    found
}

/// The encoded schema elements of the root columns, without one of them.
fn elements(path: &Path, without: &str) -> Vec<Vec<u8>> {
    let table = TableFile::open(path).expect("a table");
    let metadata = table.metadata().expect("a footer");
    let roots = metadata.schema.roots.iter().filter(|root| root.name != without);
    let of_root = |range: std::ops::Range<usize>| metadata.schema.elements.items[range].to_vec();
    roots.flat_map(|root| of_root(root.elements.clone())).map(|item| item.to_vec()).collect()
}

fn assert_kept(job: &Job, name: &str) {
    let (before, after) = (chunks(&job.input(), "embedding"), chunks(&job.output(), "embedding"));
    assert!(before == after, "{name}: bytes of a carried column changed");
    let (before, after) =
        (elements(&job.input(), "embedding"), elements(&job.output(), "embedding"));
    assert!(before == after, "{name}: the schema of a carried column changed");
}

/// Checks an output against its input with `verify`.
fn assert_verified(job: &Job, name: &str) {
    let (table, footer) = verify::open(&job.output()).expect("an output");
    let reading = job.config(&[]).input;
    let checks = verify::verify(&reading, &table, &footer, Some(&job.input()), &[]);
    for check in checks.expect("both files are read") {
        assert_ne!(check.verdict, Verdict::Failed, "{name}: {check:?}");
    }
}

#[test]
fn tables_of_the_public_reports_keep_their_columns() {
    let mut seen = 0;
    for entry in fs::read_dir(tables()).expect("the tables") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let is_refused = name.starts_with("g_")
            && !["g_enum_title", "g_interval_java"].iter().any(|kept| name.starts_with(kept));
        if is_refused || !name.ends_with(".parquet") {
            continue;
        }
        let job = job_of(&name);
        run(&job.config(&[]), &fake(Failure::Never)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_kept(&job, &name);
        assert_verified(&job, &name);
        seen += 1;
    }
    assert_eq!(seen, 25, "tables");
}

#[test]
fn what_cannot_be_carried_or_read_is_told_by_its_cause() {
    for (table, kind, says, advises) in [
        (
            "g_encrypted_carried.parquet",
            ErrorKind::Input,
            "column `c`: the column is encrypted",
            "output.drop",
        ),
        (
            "g_encrypted_title.parquet",
            ErrorKind::Input,
            "column `title`: the column is encrypted",
            "decrypt",
        ),
        (
            "g_not_utf8_title.parquet",
            ErrorKind::Data,
            "row 2: column `title`: its text is not UTF-8",
            "input.on_invalid_utf8",
        ),
        ("g_old_list_type.parquet", ErrorKind::Input, "there is no column `title`", "--text"),
        ("g_table.csv", ErrorKind::Input, "this is a CSV file", "duckdb"),
        ("g_table.jsonl", ErrorKind::Input, "JSON lines", "read_json"),
        ("g_table.arrow", ErrorKind::Input, "this is an Arrow IPC file", "pyarrow"),
        ("g_table.orc", ErrorKind::Input, "this is an ORC file", "pyarrow"),
    ] {
        let job = job_of(table);
        let error = run(&job.config(&[]), &fake(Failure::Never)).expect_err(table);
        assert_eq!(error.kind(), kind, "{table}: {error}");
        assert!(error.to_string().contains(says), "{table}: {error}");
        let advice = error.advice_text().unwrap_or("");
        assert!(advice.contains(advises), "{table}: {advice}");
        assert!(!job.output().exists(), "{table}");
    }
    // A footer with a list of another integer type is read; its column is no string.
    let job = job_of("g_old_list_type.parquet");
    let settings =
        ["input.id = \"l_partkey\"", "input.title = \"l_partkey\"", "input.description = \"\""];
    let error = run(&job.config(&settings), &fake(Failure::Never)).expect_err("no strings");
    assert!(error.to_string().contains("its type is Int32"), "{error}");
}

#[test]
fn an_encrypted_column_can_be_left_out() {
    let job = job_of("g_encrypted_carried.parquet");
    run(&job.config(&["output.drop = [\"c\"]"]), &fake(Failure::Never)).expect("a report");
    let table = TableFile::open(&job.output()).expect("an output");
    assert!(!table.metadata().expect("a footer").is_encrypted());
    let kept: Vec<ChunkBytes> = chunks(&job.input(), "c").into_iter().collect();
    assert_eq!(chunks(&job.output(), "embedding"), kept);
}

#[test]
fn bytes_that_are_no_text_are_replaced_on_request_and_stay_in_the_column() {
    let job = job_of("g_not_utf8_title.parquet");
    let settings = ["input.on_invalid_utf8 = \"replace\""];
    run(&job.config(&settings), &fake(Failure::Never)).expect("a report");
    assert_kept(&job, "g_not_utf8_title");
}

#[test]
fn carried_values_are_decoded_on_request_only() {
    let job = job_of("a_not_utf8_carried.parquet");
    run(&job.config(&[]), &fake(Failure::Never)).expect("a report");
    let checked = run(&job.config(&["input.check_carried = true"]), &fake(Failure::Never));
    let error = checked.expect_err("a string that is not UTF-8");
    assert!(error.to_string().contains("row group 0: column `c`"), "{error}");
}

#[test]
fn what_arrow_cannot_keep_is_refused_by_name_when_columns_are_encoded_anew() {
    for (table, told) in [
        ("a_int96_9999.parquet", "INT96"),
        ("a_interval.parquet", "INTERVAL"),
        ("a_uuid.parquet", "UUID"),
        ("a_uuid_list.parquet", "UUID"),
        ("a_json.parquet", "JSON"),
        ("a_enum.parquet", "ENUM"),
        ("a_timetz.parquet", "TIME in UTC"),
        ("a_geometry.parquet", "GEOMETRY"),
        ("a_variant.parquet", "VARIANT"),
        ("a_date64.parquet", "DATE in milliseconds"),
        ("a_ordered_categories.parquet", "ordered categories"),
    ] {
        let job = job_of(table);
        let settings = ["output.carry = \"reencode\""];
        let error = run(&job.config(&settings), &fake(Failure::Never)).expect_err(table);
        let expected = format!("column `c`: its type is {told}");
        assert!(error.to_string().contains(&expected), "{table}: {error}");
        assert!(error.advice_text().is_some_and(|advice| advice.contains("output.carry")));
        // Without the column the rest is encoded anew.
        let settings = ["output.carry = \"reencode\"", "output.drop = [\"c\"]"];
        run(&job.config(&settings), &fake(Failure::Never))
            .unwrap_or_else(|e| panic!("{table}: {e}"));
        assert_verified(&job, table);
    }
}

#[test]
fn what_arrow_cannot_keep_is_refused_by_name_when_rows_are_left_out() {
    for (setting, named) in
        [("output.on_empty = \"drop\"", "`output.on_empty`"), ("run.limit = 1", "`run.limit`")]
    {
        let job = job_of("a_uuid.parquet");
        let error = run(&job.config(&[setting]), &fake(Failure::Never)).expect_err(setting);
        assert!(error.to_string().contains("column `c`: its type is UUID"), "{error}");
        let advice = error.advice_text().unwrap_or_default();
        assert!(advice.contains("`output.drop`") && advice.contains(named), "{advice}");
        run(&job.config(&[setting, "output.drop = [\"c\"]"]), &fake(Failure::Never))
            .unwrap_or_else(|error| panic!("{setting}: {error}"));
        assert_verified(&job, setting);
    }
}

#[test]
fn columns_are_kept_and_dropped_by_name() {
    let table = "a_uuid.parquet";
    for (setting, kept) in [
        ("output.drop = [\"c\", \"description\"]", &["id", "title", "files.list.element"][..]),
        ("output.keep = [\"c\"]", &["c"]),
        ("output.keep = [\"files\", \"id\"]", &["id", "files.list.element"]),
    ] {
        let job = job_of(table);
        run(&job.config(&[setting]), &fake(Failure::Never)).expect("a report");
        let paths: Vec<String> =
            chunks(&job.output(), "embedding").into_iter().map(|(_, path, _)| path).collect();
        assert_eq!(paths, kept, "{setting}");
        assert_verified(&job, setting);
    }
    let job = job_of(table);
    let settings = ["output.drop = [\"no\"]", "input.id = \"none\""];
    let error = run(&job.config(&settings), &fake(Failure::Never)).expect_err("two mistakes");
    let told = error.to_string();
    assert!(told.contains("no column `none`") && told.contains("no column `no`"), "{told}");
}

#[test]
fn unchanged_row_groups_are_copied_and_a_rerun_from_scratch_gives_the_same_bytes() {
    let rows = |changed: Option<usize>| {
        let title = |row: usize| match changed {
            Some(at) if at == row => "another title".to_owned(),
            _ => format!("title {}", row % 7),
        };
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let titles: ArrayRef = Arc::new(StringArray::from_iter_values((0..100).map(title)));
        RecordBatch::try_from_iter([
            ("id", ids),
            ("title", titles.clone()),
            ("description", titles),
        ])
        .expect("a batch")
    };
    let job = Job::of_batch(&rows(None), 30);
    let (first, _) = run(&job.config(&[]), &fake(Failure::Never)).expect("a report");
    assert_eq!(first.origins().reused, 0);
    // One row of the second of four row groups changes; without a cache the others need no model.
    crate::common::write_parquet(&job.input(), &rows(Some(40)), 30);
    let settings = ["cache.mode = \"off\""];
    let (second, _) = run(&job.config(&settings), &fake(Failure::Never)).expect("a report");
    assert_eq!(second.origins().reused, 70, "rows of unchanged row groups");
    assert_kept(&job, "one row changed");
    assert_verified(&job, "one row changed");
    let copied = fs::read(job.output()).expect("an output");
    fs::remove_file(job.output()).expect("an output");
    run(&job.config(&settings), &fake(Failure::Never)).expect("a report");
    assert!(fs::read(job.output()).expect("an output") == copied, "from scratch");
    // Vectors that are damaged on the disk are not copied.
    let table = TableFile::open(&job.output()).expect("an output");
    let metadata = table.metadata().expect("a footer");
    let leaf = metadata.schema.leaves.iter().position(|leaf| leaf.path.starts_with("embedding"));
    let group = metadata.group(0).expect("a row group");
    let range = group.chunk(leaf.expect("vectors")).expect("a chunk").range(u64::MAX);
    let mut damaged = copied.clone();
    damaged[range.expect("a range").end as usize - 1] ^= 1;
    fs::write(job.output(), damaged).expect("an output");
    let (third, _) = run(&job.config(&settings), &fake(Failure::Never)).expect("a report");
    assert_eq!(third.origins().reused, 70, "all but the damaged row group");
    assert!(fs::read(job.output()).expect("an output") == copied, "mended");
}

/// 40 rows in row groups of 10: id, title and description.
fn forty(titles: impl Fn(usize) -> String, null_id: Option<usize>) -> RecordBatch {
    let id = |row: usize| (Some(row) != null_id).then_some(row as i64);
    let ids: ArrayRef = Arc::new(Int64Array::from_iter((0..40).map(id)));
    let titles: ArrayRef = Arc::new(StringArray::from_iter_values((0..40).map(titles)));
    let columns =
        [("id", ids, true), ("title", titles.clone(), true), ("description", titles, true)];
    RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
}

#[test]
fn a_run_over_an_existing_output_names_the_same_row_as_a_first_run() {
    let title = |row: usize| format!("title {row}");
    let job = Job::of_batch(&forty(title, None), 10);
    run(&job.config(&[]), &fake(Failure::Never)).expect("a report");
    // Rows of changed row groups wait to become a chunk while the last one is compared.
    let other = |row: usize| if row < 30 { format!("other {row}") } else { title(row) };
    crate::common::write_parquet(&job.input(), &forty(other, Some(35)), 10);
    let error = run(&job.config(&[]), &fake(Failure::Never)).expect_err("a null id");
    assert!(error.to_string().contains("row 36: column `id`: the id is null"), "{error}");
    // Repeated ids are counted once, whether their row group is compared or read.
    crate::common::write_parquet(&job.input(), &forty(other, None), 10);
    let (report, _) = run(&job.config(&[]), &fake(Failure::Never)).expect("a report");
    assert_eq!((report.origins().reused, report.origins().encoded), (10, 30));
    assert!(report.warnings.iter().all(|w| !matches!(w, Warning::DuplicateIds { .. })));
}

#[test]
fn copied_vectors_have_an_offset_index_where_their_neighbours_have_one() {
    let title = |row: usize| format!("title {row}");
    let put = |path: &Path, indexed: bool| {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(10))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(!indexed)
            .build();
        let file = fs::File::create(path).expect("a file");
        let batch = forty(title, None);
        let mut writer =
            ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("a batch");
        writer.close().expect("a footer");
    };
    let job = Job::new();
    let settings = ["cache.mode = \"off\""];
    for indexed in [false, true, false] {
        put(&job.input(), indexed);
        let (report, _) = run(&job.config(&settings), &fake(Failure::Never)).expect("a report");
        let over_existing = fs::read(job.output()).expect("an output");
        if indexed {
            assert_eq!(report.origins().reused, 40, "copied");
        }
        let scratch = Job::new();
        put(&scratch.input(), indexed);
        run(&scratch.config(&settings), &fake(Failure::Never)).expect("a report");
        let from_scratch = fs::read(scratch.output()).expect("an output");
        assert!(over_existing == from_scratch, "indexed: {indexed}");
    }
}

#[test]
fn a_changed_footer_is_refused_or_edited_and_never_panics() {
    let footers: Vec<Vec<u8>> =
        fs::read_dir(reembed_testing::repository().join("fuzz/seeds/footer"))
            .expect("the seeds")
            .map(|entry| fs::read(entry.expect("an entry").path()).expect("a footer"))
            .collect();
    let change = (0..footers.len(), any::<prop::sample::Index>(), any::<u8>(), 0..3usize);
    let config = ProptestConfig { cases: 4000, ..ProptestConfig::default() };
    let (mut read, mut refused) = (0, 0);
    let outcome = TestRunner::new(config).run(&change, |(seed, at, byte, how)| {
        let mut bytes = footers[seed].clone();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        let _ = edited(bytes);
        Ok(())
    });
    outcome.expect("no panic");
    for bytes in &footers {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            match edited(changed) {
                true => read += 1,
                false => refused += 1,
            }
        }
        assert!(edited(bytes.clone()));
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}

/// Whether a footer is read; it is then cut down and edited, and both results are read again.
fn edited(bytes: Vec<u8>) -> bool {
    let footer = FooterBytes::new(bytes, 1 << 20);
    let Ok(metadata) = footer.parse() else { return false };
    if metadata.check().is_err() {
        return false;
    }
    let roots: Vec<usize> = (0..metadata.schema.roots.len()).collect();
    for types in [Types::TextAsBytes, Types::Annotated, Types::AsWritten] {
        if let Some(cut) = projection::project(
            &metadata,
            &Selection::of_roots(&metadata.schema, &roots),
            types,
            &|_, _| None,
        ) {
            let cut = FooterBytes::new(cut, 1 << 20);
            assert_eq!(cut.parse().expect("a footer").schema.roots.len(), roots.len());
        }
    }
    let columns = Columns {
        carried: vec![true; roots.len()],
        vectors: vec![VectorColumn {
            after: roots.len(),
            replaces: false,
            name: "embedding".to_owned(),
            element: Element::F32,
            is_nullable: true,
        }],
        has_parts: false,
    };
    let vectors = [Arc::new(Field::new("embedding", DataType::Float32, true))];
    if let Some(new) = output::encode(&metadata, &columns, (0, &[]), &vectors, &[]) {
        let new = FooterBytes::new(new, 1 << 20);
        assert_eq!(new.parse().expect("a footer").schema.roots.len(), roots.len() + 1);
    }
    true
}

/// The layout of a random file.
#[derive(Debug, Clone)]
struct Layout {
    rows: usize,
    group_rows: usize,
    codec: usize,
    version2: bool,
    dictionary: bool,
    statistics: bool,
    bloom: bool,
    page_rows: usize,
    columns: Vec<(usize, bool)>,
    position: usize,
}

fn layout() -> impl Strategy<Value = Layout> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let columns = prop::collection::vec((0..8usize, any::<bool>()), 0..6);
    (1..200usize, 1..120usize, 0..6usize, flags, 1..50usize, columns, 0..8usize).prop_map(
        |(rows, group_rows, codec, flags, page_rows, columns, position)| {
            let (version2, dictionary, statistics, bloom) = flags;
            Layout {
                rows,
                group_rows,
                codec,
                version2,
                dictionary,
                statistics,
                bloom,
                page_rows,
                columns,
                position,
            }
        },
    )
}

/// A column of one of eight kinds.
fn column(kind: usize, rows: usize) -> ArrayRef {
    let present = |row: usize| !row.is_multiple_of(3);
    let texts = || {
        StringArray::from_iter(
            (0..rows).map(|row| present(row).then(|| format!("text {}", row % 11))),
        )
    };
    let numbers =
        || Int64Array::from_iter((0..rows).map(|row| present(row).then_some(row as i64 * 7)));
    match kind {
        0 => Arc::new(texts()),
        1 => Arc::new(numbers()),
        2 => Arc::new(Float64Array::from_iter(
            (0..rows).map(|row| present(row).then_some(row as f64 / 3.0)),
        )),
        3 => Arc::new(BooleanArray::from_iter(
            (0..rows).map(|row| present(row).then_some(row % 2 == 0)),
        )),
        4 => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for row in 0..rows {
                (0..row % 4).for_each(|n| {
                    lists.values().append_option((n != 1).then(|| format!("{row}.{n}")))
                });
                lists.append(present(row));
            }
            Arc::new(lists.finish())
        }
        5 => {
            let fields = Fields::from(vec![
                Field::new("a", DataType::Int64, true),
                Field::new("b.c", DataType::Utf8, true),
            ]);
            Arc::new(StructArray::new(fields, vec![Arc::new(numbers()), Arc::new(texts())], None))
        }
        6 => cast(
            &texts(),
            &DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
        )
        .expect("a dictionary"),
        _ => {
            let mut lists = ListBuilder::new(ListBuilder::new(Int64Builder::new()));
            for row in 0..rows {
                for n in 0..row % 3 {
                    (0..n).for_each(|m| lists.values().values().append_value(m as i64));
                    lists.values().append(true);
                }
                lists.append(present(row));
            }
            Arc::new(lists.finish())
        }
    }
}

fn write(path: &Path, layout: &Layout) {
    let title: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..layout.rows).map(|row| format!("title {row}"))));
    let id: ArrayRef =
        Arc::new(BinaryArray::from_iter_values((0..layout.rows).map(|row| row.to_le_bytes())));
    let mut columns: Vec<(String, ArrayRef, bool)> = vec![
        ("id".into(), id, false),
        ("title".into(), title.clone(), false),
        ("description".into(), title, true),
    ];
    for (number, (kind, _)) in layout.columns.iter().enumerate() {
        let at = (layout.position + number) % (columns.len() + 1);
        columns.insert(at, (format!("c{number}"), column(*kind, layout.rows), true));
    }
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("a batch");
    let codec = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
    ][layout.codec];
    let version =
        if layout.version2 { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 };
    let statistics =
        if layout.statistics { EnabledStatistics::Page } else { EnabledStatistics::None };
    let mut properties = WriterProperties::builder()
        .set_compression(codec)
        .set_writer_version(version)
        .set_statistics_enabled(statistics)
        .set_dictionary_enabled(layout.dictionary)
        .set_bloom_filter_enabled(layout.bloom)
        .set_data_page_row_count_limit(layout.page_rows)
        .set_write_batch_size(layout.page_rows)
        .set_max_row_group_row_count(Some(layout.group_rows));
    if !layout.dictionary && layout.version2 {
        properties = properties.set_column_encoding("title".into(), Encoding::DELTA_BYTE_ARRAY);
    }
    let file = fs::File::create(path).expect("a file");
    let mut writer =
        ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).expect("a writer");
    writer.write(&batch).expect("a batch");
    writer.close().expect("a footer");
}

#[test]
fn random_schemas_keep_the_bytes_of_every_chunk() {
    let model = fake(Failure::Never);
    let config = ProptestConfig { cases: 96, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&layout(), |layout| {
            let job = Job::new();
            write(&job.input(), &layout);
            let mut settings = Vec::new();
            // A column in the middle is replaced by the vectors.
            if layout.columns.len() > 3 {
                settings.push("output.column = \"c1\"");
            }
            let replaced = if settings.is_empty() { "embedding" } else { "c1" };
            run(&job.config(&settings), &model).expect("a report");
            let (before, after) = (chunks(&job.input(), replaced), chunks(&job.output(), replaced));
            prop_assert!(before == after, "bytes");
            prop_assert!(
                elements(&job.input(), replaced) == elements(&job.output(), replaced),
                "schema"
            );
            assert_verified(&job, "a random table");
            // Another reader finds every row, with its page index.
            let read = crate::common::read_parquet(&job.output());
            prop_assert_eq!(read.rows.num_rows(), layout.rows);
            let old = crate::common::read_parquet(&job.input());
            for (at, field) in old.schema.fields().iter().enumerate() {
                if field.name() != replaced {
                    prop_assert_eq!(
                        read.rows.column_by_name(field.name()),
                        Some(old.rows.column(at))
                    );
                }
            }
            let indexed = |file: &Path| {
                use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
                use parquet::file::metadata::PageIndexPolicy;
                let options =
                    ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
                ArrowReaderMetadata::load(&fs::File::open(file).expect("a file"), options).is_ok()
            };
            prop_assert!(indexed(&job.output()), "page index");
            Ok(())
        })
        .expect("every layout");
}
