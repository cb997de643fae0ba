//! Flags that set a key of the configuration. They are made from the table of settings: a setting that names a flag has
//! one, with the setting's own help.

use std::ffi::OsString;
use std::marker::PhantomData;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use reembed::config::{Flag, Kind, Origin, RawConfig, SETTINGS, Setting};
use reembed::{Error, ErrorKind, Result};

/// Which settings a command has flags for.
pub trait Scope: Clone + Send + Sync + 'static {
    /// Whether the command has the flag of this setting.
    fn has(setting: &Setting) -> bool;
}

/// Those that say which model is used and what it runs on.
#[derive(Debug, Clone)]
pub struct OfModel;

impl Scope for OfModel {
    fn has(setting: &Setting) -> bool {
        ["model", "compute"].contains(&setting.table())
    }
}

/// All of them.
#[derive(Debug, Clone)]
pub struct OfRun;

impl Scope for OfRun {
    fn has(_: &Setting) -> bool {
        true
    }
}

/// The flags that were given, in the order of the settings.
#[derive(Debug, Clone)]
pub struct SettingFlags<S> {
    given: Vec<Given>,
    scope: PhantomData<S>,
}

#[derive(Debug, Clone)]
struct Given {
    flag: &'static str,
    /// What followed it, if the flag takes a value.
    value: Option<OsString>,
}

impl<S: Scope> SettingFlags<S> {
    /// Lays the flags over what is there.
    ///
    /// # Errors
    /// `Config`, naming the flag.
    pub fn lay_over(&self, raw: &mut RawConfig) -> Result<()> {
        for setting in SETTINGS.iter().filter(|setting| S::has(setting)) {
            let Some(flag) = setting.flag else { continue };
            let Some(given) = self.given.iter().find(|given| given.flag == flag.name) else {
                continue;
            };
            let text = flag.value.map(OsString::from);
            if let Some(value) = given.value.as_ref().or(text.as_ref()) {
                set(raw, setting, value, flag.name)?;
            }
        }
        Ok(())
    }

    /// The flags as they were typed, for this program in another process.
    pub fn typed(&self) -> Vec<OsString> {
        let typed = |given: &Given| [Some(given.flag.into()), given.value.clone()];
        self.given.iter().flat_map(typed).flatten().collect()
    }
}

/// Sets a key from a value of the command line. A path may hold bytes that are no UTF-8; nothing else may.
///
/// # Errors
/// `Config`, naming `origin`.
pub fn set(
    raw: &mut RawConfig,
    setting: &Setting,
    value: &OsString,
    origin: &'static str,
) -> Result<()> {
    if setting.kind == Kind::Path {
        return raw.set_path(setting.key, Path::new(value), Origin::Flag(origin));
    }
    let text = value.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("the value of {origin} is not UTF-8"))
            .advice("only paths may be of other bytes")
    })?;
    raw.set(setting.key, text, Origin::Flag(origin))
}

/// The flags of a scope, each once, with the settings that it sets.
fn flags<S: Scope>() -> Vec<(Flag, Vec<&'static Setting>)> {
    let mut flags: Vec<(Flag, Vec<&'static Setting>)> = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| S::has(setting)) {
        let Some(flag) = setting.flag else { continue };
        match flags.iter_mut().find(|(known, _)| known.name == flag.name) {
            Some((_, settings)) => settings.push(setting),
            None => flags.push((flag, vec![setting])),
        }
    }
    flags
}

fn id(flag: Flag) -> &'static str {
    flag.name.trim_start_matches('-')
}

fn arg(flag: Flag, settings: &[&Setting]) -> Arg {
    let keys: Vec<&str> = settings.iter().map(|setting| setting.key).collect();
    let help = flag.help.or(settings.first().map(|setting| setting.help)).unwrap_or("");
    let arg = Arg::new(id(flag)).long(id(flag)).help(format!(
        "{} [{}]",
        help.trim_end_matches('.'),
        keys.join(", ")
    ));
    match flag.value {
        Some(_) => arg.action(ArgAction::SetTrue),
        None => arg.value_name(flag.value_name).value_parser(value_parser!(OsString)),
    }
}

impl<S: Scope> Args for SettingFlags<S> {
    fn augment_args(command: Command) -> Command {
        flags::<S>()
            .iter()
            .fold(command, |command, (flag, settings)| command.arg(arg(*flag, settings)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Scope> FromArgMatches for SettingFlags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |(flag, _): (Flag, Vec<&Setting>)| {
            let value = match flag.value {
                Some(_) => matches.get_flag(id(flag)).then_some(None),
                None => matches.get_one::<OsString>(id(flag)).cloned().map(Some),
            };
            Some(Given { flag: flag.name, value: value? })
        };
        let given = flags::<S>().into_iter().filter_map(given).collect();
        Ok(SettingFlags { given, scope: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Sets the path of a key from the command line.
///
/// # Errors
/// As [`set`].
pub fn set_path(raw: &mut RawConfig, key: &str, path: &Path, origin: &'static str) -> Result<()> {
    raw.set_path(key, path, Origin::Flag(origin))
}
