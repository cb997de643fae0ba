//! Whether a configuration names a table or a dataset, and which tables that has.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf, absolute};

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::listing::{ListedTable, Listing};
use super::partition::partitions;
use super::pattern::{Pattern, has_wildcard};
use super::places::Places;
use crate::config::{CacheMode, Config, Inputs, OutputPlace};
use crate::hidden_names::{WORK_DIRECTORY, directory_of};
use crate::publish;

/// Largest size of a file that lists inputs, in bytes.
const LARGEST_LIST: u64 = 1 << 30;

/// What a run is about.
#[derive(Debug)]
pub enum Job {
    /// One table, with the configuration for it.
    Table(Box<Config>),
    /// The tables of a dataset.
    Dataset(Box<Dataset>),
}

/// The tables of a dataset, and where their outputs go.
#[derive(Debug)]
pub struct Dataset {
    /// The configuration of the run. Its output is the output directory.
    pub config: Config,
    /// All tables that there are.
    pub listing: Listing,
    /// Those that the run takes, in order.
    pub taken: Vec<ListedTable>,
    /// Those that other shards take, in order.
    pub others: Vec<ListedTable>,
    /// The places of its own files.
    pub places: Places,
}

impl Job {
    /// Looks at the inputs of a configuration. Nothing is opened and nothing is created.
    ///
    /// # Errors
    /// `Input`, naming what cannot be listed; `Target`, if outputs and inputs would lie in each other;
    /// `Config`, if settings do not fit.
    pub fn open(config: &Config) -> Result<Job> {
        let paths = match &config.dataset.inputs {
            Inputs::Path(path) if !is_dataset(config, path) => return table(config, path),
            Inputs::Path(path) => vec![path.clone()],
            Inputs::Paths(paths) => paths.clone(),
            Inputs::FilesFrom(list) => read_list(list)?,
        };
        let listing = Listing::of(&paths, config.dataset.root.as_deref())?;
        check_output(config.output.path())?;
        check_apart(&listing, config.output.path())?;
        let (taken, others) = taken(config, &listing)?;
        let places = Places::new(config.output.path(), config.dataset.shard);
        check_cache(config, &listing, &places)?;
        let mut config = config.clone();
        // For people: each table has its own.
        config.input.path.clone_from(&listing.root);
        if config.cache.path.is_none() {
            config.cache.path = Some(places.cache());
            // Workers share what was merged, and write to a part of their own.
            config.cache.base = config.dataset.shard.map(|_| places.whole_cache());
        }
        if config.report.is_beside_output {
            config.report.dir = places.reports();
            config.report.topmost = places.root().to_owned();
        }
        Ok(Job::Dataset(Box::new(Dataset { config, listing, taken, others, places })))
    }
}

impl Dataset {
    /// Whether shards embed large tables together.
    pub fn may_split(&self) -> bool {
        self.config.dataset.shard.is_some() && self.config.dataset.split_rows.is_some()
    }

    /// The configuration of one of its tables.
    pub fn config_of(&self, table: &ListedTable) -> Config {
        let mut config = self.config.clone();
        config.input.path = table.path(&self.listing.root);
        config.output.place = OutputPlace::in_dataset(self.places.root(), &table.below);
        config
    }
}

/// Whether an input is a dataset. If there is none at its path, what else is set tells which one is missing.
fn is_dataset(config: &Config, path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(found) => found.is_dir(),
        Err(_) => {
            names_directory(path)
                || is_for_directory(config.output.path())
                || config.dataset.shard.is_some()
                || config.dataset.only.is_some()
                // One with a bracket in its name is more likely a file that is not there.
                || (has_wildcard(path) && Pattern::parse(path).is_ok())
        }
    }
}

/// Whether outputs go into a directory of this path.
fn is_for_directory(output: &Path) -> bool {
    names_directory(output) || fs::metadata(output).is_ok_and(|found| found.is_dir())
}

/// The job of one table. Into a directory it is written with its own name.
fn table(config: &Config, input: &Path) -> Result<Job> {
    let of_datasets = [
        ("dataset.shard", config.dataset.shard.is_some()),
        ("dataset.only", config.dataset.only.is_some()),
        ("dataset.root", config.dataset.root.is_some()),
    ];
    if let Some((key, _)) = of_datasets.iter().find(|(_, is_set)| *is_set) {
        let message = format!("`{key}` is set, but the input is one file");
        return Err(Error::new(ErrorKind::Config, message)
            .in_file(input)
            .advice("remove the setting, or name a directory, a pattern or a list"));
    }
    let mut config = config.clone();
    let output = config.output.path();
    if is_for_directory(output) {
        let name = input.file_name().ok_or_else(|| {
            Error::new(ErrorKind::Input, "the input path has no file name").in_file(input)
        })?;
        let place = OutputPlace::alone(output.join(name));
        if config.report.is_beside_output {
            config.report.dir = place.reports();
            config.report.topmost = directory_of(place.path()).to_owned();
        }
        config.output.place = place;
    }
    Ok(Job::Table(Box::new(config)))
}

/// Whether a path can only be that of a directory.
fn names_directory(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    [".", ".."].iter().any(|name| path.as_os_str() == *name)
        || ["/", "/.", "/.."].iter().any(|end| text.ends_with(end.as_bytes()))
}

/// The tables that the run takes, and those that other shards take.
fn taken(config: &Config, listing: &Listing) -> Result<(Vec<ListedTable>, Vec<ListedTable>)> {
    let mut taken = listing.tables.clone();
    if let Some(only) = &config.dataset.only {
        let found: std::collections::BTreeSet<String> =
            taken.iter().flat_map(|table| partitions(&table.below)).map(|(name, _)| name).collect();
        if let Some(unknown) = only.names().find(|name| !found.contains(*name)) {
            let names: Vec<&str> = found.iter().map(String::as_str).collect();
            let message =
                format!("`dataset.only` names the partition `{unknown}`, which no table has");
            return Err(Error::new(ErrorKind::Config, message).in_file(&listing.root).advice(
                match names.is_empty() {
                    true => "no directory is named like a partition: dt=2026-11-01".to_owned(),
                    false => format!("the partitions are: {}", names.join(", ")),
                },
            ));
        }
        taken.retain(|table| {
            let partitions = partitions(&table.below);
            only.takes(|wanted| partitions.iter().find(|(name, _)| name == wanted)?.1.as_deref())
        });
        if taken.is_empty() && config.dataset.shard.is_none() {
            return Err(Error::new(
                ErrorKind::Input,
                format!("no table fits `dataset.only`: {only}"),
            )
            .in_file(&listing.root)
            .advice("check the condition; values are compared as numbers, dates or text"));
        }
    }
    let is_taken =
        |table: &ListedTable| config.dataset.shard.is_none_or(|shard| shard.has(&table.below));
    Ok(taken.into_iter().partition(is_taken))
}

/// Checks that the output is or can become a directory.
fn check_output(output: &Path) -> Result<()> {
    if publish::is_for_other_files(output) {
        let message = format!("`{WORK_DIRECTORY}` is for the files of reembed that are not tables");
        return Err(Error::new(ErrorKind::Target, message)
            .in_file(output)
            .advice("name another directory with --output or `output.path`"));
    }
    match fs::metadata(output) {
        Ok(found) if !found.is_dir() => Err(Error::new(
            ErrorKind::Target,
            "this is a file, but the tables of a dataset go into a directory",
        )
        .in_file(output)
        .advice("name a directory with --output or `output.path`")),
        _ => {
            publish::check_directory(output)?;
            // Any table of the dataset will do.
            publish::check_work_directory(&OutputPlace::in_dataset(output, Path::new("table")))
        }
    }
}

/// Checks that no output would be an input of the next run, and no input an output.
fn check_apart(listing: &Listing, output: &Path) -> Result<()> {
    let input = listing.root.as_path();
    let refuse = |message: String| {
        Err(Error::new(ErrorKind::Target, message)
            .in_file(output)
            .advice("name an output directory beside the input directory"))
    };
    let (inputs, outputs) = (publish::resolve(input), publish::resolve(output));
    if inputs == outputs {
        return refuse("this directory has the inputs".to_owned());
    }
    if let Ok(within) = outputs.strip_prefix(&inputs) {
        // Files that are named lie where they are: `reembed run a.parquet b.parquet out/`.
        if listing.may_take_from(output) {
            return refuse(format!(
                "this directory lies in the input directory {}, so that outputs would become inputs",
                input.display()
            ));
        }
        if let Some(table) = listing.tables.iter().find(|table| table.below.starts_with(within)) {
            return refuse(format!("the input {:?} lies in this directory", table.path(input)));
        }
    }
    if listing.has_read(output) {
        return refuse(format!(
            "a link below {} leads to this directory, so that outputs would become inputs",
            input.display()
        ));
    }
    if inputs.starts_with(&outputs) {
        return refuse(format!("the input directory {} lies in this directory", input.display()));
    }
    Ok(())
}

/// Checks that `cache.path` is not another file of the dataset, which the cache would overwrite.
fn check_cache(config: &Config, listing: &Listing, places: &Places) -> Result<()> {
    let (Some(cache), false) = (&config.cache.path, config.cache.mode == CacheMode::Off) else {
        return Ok(());
    };
    let resolved = publish::resolve(cache);
    let is_of = |root: &Path| {
        let below = resolved.strip_prefix(publish::resolve(root));
        below.is_ok_and(|below| {
            below.as_os_str().is_empty() || listing.tables.iter().any(|table| table.below == below)
        })
    };
    let own = [
        places.success_file(),
        places.whole_manifest(),
        places.manifest(),
        places.journal(),
        places.lock(),
    ];
    let is_own = || own.iter().any(|own| publish::resolve(own) == resolved);
    if !is_of(&listing.root) && !is_of(places.root()) && !is_own() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "`cache.path` is another file of the dataset")
        .in_file(cache)
        .advice("set `cache.path` to a file of its own, or remove the setting"))
}

/// The paths that a file lists. Relative ones start at its directory.
fn read_list(list: &Path) -> Result<Vec<PathBuf>> {
    let refuse = |message: &str| Error::new(ErrorKind::Input, message.to_owned()).in_file(list);
    let failed = |cause: io::Error| {
        refuse("the list of files cannot be read")
            .advice("name another one with --files-from")
            .caused_by(cause)
    };
    let mut text = Vec::new();
    let file = fs::File::open(list).map_err(failed)?;
    file.take(LARGEST_LIST).read_to_end(&mut text).map_err(failed)?;
    let directory = absolute(list).map_err(failed)?;
    let directory = match directory_of(list) {
        // So that paths stay short.
        relative if relative.is_relative() => relative.to_owned(),
        _ => directory_of(&directory).to_owned(),
    };
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let paths: Vec<PathBuf> = lines
        .filter(|line| !line.is_empty())
        .map(|line| directory.join(OsStr::from_bytes(line)))
        .collect();
    if paths.is_empty() {
        return Err(refuse("the list names no file").advice("write one path in each line"));
    }
    Ok(paths)
}
