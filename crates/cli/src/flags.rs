//! Flags that set a key of the configuration, generated from the table of settings (docs/decisions/0007).

use std::ffi::{OsStr, OsString};
use std::marker::PhantomData;
use std::path::Path;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint, value_parser};
use reembed::config::{Flag, Kind, OF_ONE_MODEL, Origin, RawConfig, SETTINGS, Setting};
use reembed::{Error, ErrorKind, Result};

/// The flags of a command line that set keys, in the order of the settings.
#[derive(Debug, Clone)]
pub struct SettingFlags<S> {
    given: Vec<GivenFlag>,
    scope: PhantomData<S>,
}

#[derive(Debug, Clone)]
struct GivenFlag {
    name: &'static str,
    /// The value, if the flag takes one.
    value: Option<OsString>,
}

/// The settings that a command has flags for.
pub trait Scope: Clone + Send + Sync + 'static {
    /// Whether the command has the flag of this setting.
    fn has(setting: &Setting) -> bool;
}

/// The settings of the model and its device.
#[derive(Debug, Clone)]
pub struct ModelScope;

impl Scope for ModelScope {
    fn has(setting: &Setting) -> bool {
        ["model", "compute"].contains(&setting.table())
    }
}

/// All settings.
#[derive(Debug, Clone)]
pub struct RunScope;

impl Scope for RunScope {
    fn has(_: &Setting) -> bool {
        true
    }
}

impl<S: Scope> SettingFlags<S> {
    /// Sets the keys of the flags.
    ///
    /// # Errors
    /// `Config`, naming every flag that is wrong.
    pub fn apply_to(&self, raw: &mut RawConfig) -> Result<()> {
        let mut faults: Vec<Error> = self.check_one_directory().err().into_iter().collect();
        for (flag, setting) in flags_of::<S>() {
            let Some(given) = self.find(flag.name) else { continue };
            let fixed = flag.value.map(OsString::from);
            if let Some(value) = given.value.as_ref().or(fixed.as_ref()) {
                faults.extend(set(raw, setting, value, flag.name).err());
            }
        }
        Error::all(faults).map_or(Ok(()), Err)
    }

    fn find(&self, name: &str) -> Option<&GivenFlag> {
        self.given.iter().find(|given| given.name == name)
    }

    /// Refuses two directories of a model. An id beside a directory is the name of its model.
    fn check_one_directory(&self) -> Result<()> {
        let value = |name| self.find(name).and_then(|given| given.value.as_ref());
        match (value("--model"), value("--model-path")) {
            (Some(model), Some(path)) if Path::new(model).is_dir() => {
                let message = format!(
                    "--model names the directory {model:?}, and --model-path names {path:?}"
                );
                Err(Error::new(ErrorKind::Config, message).advice(
                    "give one of the two; beside --model-path, --model may only be the name of the \
                     model in outputs and reports",
                ))
            }
            _ => Ok(()),
        }
    }

    /// The flags as arguments for another process of this program.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let arguments = |given: &GivenFlag| [Some(given.name.into()), given.value.clone()];
        self.given.iter().flat_map(arguments).flatten().collect()
    }
}

/// Sets the model: an id, or a directory.
///
/// # Errors
/// `Config` if the id is not UTF-8.
pub fn set_model(raw: &mut RawConfig, value: &OsStr, flag: &'static str) -> Result<()> {
    // What a lower layer says of another model does not hold for this one.
    if !raw.names_model(Path::new(value)) {
        OF_ONE_MODEL.iter().for_each(|key| raw.unset(key));
    }
    raw.unset("model.path");
    if Path::new(value).is_dir() {
        raw.unset("model.id");
        return raw.set_path("model.path", Path::new(value), Origin::Flag(flag));
    }
    raw.set("model.id", text_of(value, flag)?, Origin::Flag(flag))
}

fn text_of<'v>(value: &'v OsStr, flag: &str) -> Result<&'v str> {
    value.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("the value of {flag} is not UTF-8"))
            .advice("write the value in UTF-8; only paths may have other bytes")
    })
}

/// Sets a key from the value of a flag. Only a path may be anything but UTF-8.
fn set(raw: &mut RawConfig, setting: &Setting, value: &OsString, flag: &'static str) -> Result<()> {
    if setting.key == "model.id" {
        return set_model(raw, value, flag);
    }
    if setting.kind == Kind::Path {
        return raw.set_path(setting.key, Path::new(value), Origin::Flag(flag));
    }
    raw.set(setting.key, text_of(value, flag)?, Origin::Flag(flag))
}

/// The flags of a scope with their settings. A flag that sets several keys comes once for each.
fn flags_of<S: Scope>() -> impl Iterator<Item = (Flag, &'static Setting)> {
    let settings = SETTINGS.iter().filter(|setting| S::has(setting));
    settings.filter_map(|setting| Some((setting.flag?, setting)))
}

/// The flags of a scope, each once, with the settings that it sets.
fn distinct_flags<S: Scope>() -> Vec<(Flag, Vec<&'static Setting>)> {
    let mut flags: Vec<(Flag, Vec<&'static Setting>)> = Vec::new();
    for (flag, setting) in flags_of::<S>() {
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
    let help = format!("{} [{}]", help.trim_end_matches('.'), keys.join(", "));
    let arg = Arg::new(id(flag)).long(id(flag)).help(help);
    match flag.value {
        Some(_) => arg.action(ArgAction::SetTrue),
        None => {
            let arg = arg.value_name(flag.value_name);
            match settings.first().map(|setting| setting.kind) {
                Some(Kind::Word(words)) => arg.value_parser(Words { auto: false, words }),
                Some(Kind::WordOrAuto(words)) => arg.value_parser(Words { auto: true, words }),
                Some(Kind::Names) => {
                    arg.value_parser(value_parser!(OsString)).action(ArgAction::Append)
                }
                Some(Kind::Path) => {
                    arg.value_parser(value_parser!(OsString)).value_hint(ValueHint::AnyPath)
                }
                _ => arg.value_parser(value_parser!(OsString)),
            }
        }
    }
}

/// The value of a flag. A flag for names may be given several times; its values become one list.
fn value_of(matches: &ArgMatches, flag: Flag) -> Option<OsString> {
    let values: Vec<OsString> = matches.get_many(id(flag))?.cloned().collect();
    Some(values.join(OsStr::new(",")))
}

/// Takes any value and names the words that the setting has, for help and completions. A wrong word is
/// refused with all other wrong settings.
#[derive(Debug, Clone, Copy)]
struct Words {
    auto: bool,
    words: &'static [&'static str],
}

impl TypedValueParser for Words {
    type Value = OsString;

    fn parse_ref(
        &self,
        _: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<OsString, clap::Error> {
        Ok(value.to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let auto = self.auto.then_some("auto");
        let words = auto.into_iter().chain(self.words.iter().copied());
        Some(Box::new(words.map(PossibleValue::new)))
    }
}

impl<S: Scope> Args for SettingFlags<S> {
    fn augment_args(command: Command) -> Command {
        distinct_flags::<S>()
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
                None => value_of(matches, flag).map(Some),
            };
            Some(GivenFlag { name: flag.name, value: value? })
        };
        let given = distinct_flags::<S>().into_iter().filter_map(given).collect();
        Ok(SettingFlags { given, scope: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
