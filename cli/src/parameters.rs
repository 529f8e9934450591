//! The parameters of images as command-line options, from the contract's table.

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use glimpse_contract::{
    OutputFormat, PARAMETERS, Parameter, ParameterType, VariantKind, VariantRequest, VideoId,
};

use crate::failure::{CommandResult, Failure};

/// The kinds of files of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FileKind {
    /// A still image: the poster, or the frame at `--time`.
    Thumbnail,
    /// The short moving preview.
    Animated,
    /// The sheet of tiles, or a table of its tiles for players.
    Storyboard,
    /// A part of the video with its sound.
    Clip,
    /// The uploaded file.
    Original,
}

impl FileKind {
    /// The word in URLs, and in the API's `types`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Thumbnail => "thumbnail",
            Self::Animated => "animated",
            Self::Storyboard => "storyboard",
            Self::Clip => "clip",
            Self::Original => "original",
        }
    }

    /// `aud` of a delivery token, as at Mux.
    pub(crate) fn audience(self) -> &'static str {
        match self {
            Self::Thumbnail => "t",
            Self::Animated => "g",
            Self::Storyboard => "s",
            Self::Clip => "c",
            Self::Original => "v",
        }
    }

    /// The kind of image; `None` for the uploaded file.
    fn variant_kind(self) -> Option<VariantKind> {
        match self {
            Self::Thumbnail => Some(VariantKind::Thumbnail),
            Self::Animated => Some(VariantKind::Animation),
            Self::Storyboard => Some(VariantKind::Storyboard),
            Self::Clip => Some(VariantKind::Clip),
            Self::Original => None,
        }
    }

    /// The file with an extension, or with the first of the kind's formats.
    fn file(self, extension: Option<&str>) -> String {
        let first = self.variant_kind().and_then(|kind| kind.formats().first().copied());
        match (extension, first) {
            (_, None) => self.as_str().to_owned(),
            (Some(extension), _) => format!("{}.{extension}", self.as_str()),
            (None, Some(format)) => format!("{}.{}", self.as_str(), format.extension()),
        }
    }
}

/// The options of an image: a value for each parameter that was given, by the parameter's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageParameters(pub(crate) Vec<(&'static str, String)>);

/// One name of a parameter, with all kinds of images that have it.
struct Named {
    name: &'static str,
    parameters: Vec<&'static Parameter>,
}

/// The distinct names, in the order of the table.
fn names() -> Vec<Named> {
    let mut found: Vec<Named> = Vec::new();
    for parameter in &PARAMETERS {
        match found.iter_mut().find(|named| named.name == parameter.name) {
            Some(named) => named.parameters.push(parameter),
            None => found.push(Named { name: parameter.name, parameters: vec![parameter] }),
        }
    }
    found
}

impl Named {
    fn kinds(&self) -> String {
        let kinds: Vec<_> = self.parameters.iter().map(|parameter| parameter.kind.as_str()).collect();
        kinds.join(", ")
    }

    fn value_name(&self) -> &'static str {
        match self.parameters[0].value {
            ParameterType::Seconds { .. } => "SECONDS",
            ParameterType::Words { words: &[("true", _), ("false", _)], .. } => "true|false",
            ParameterType::Words { .. } => "WORD",
            ParameterType::Integer { .. } | ParameterType::Hundredths { .. } => "NUMBER",
        }
    }

    fn help(&self) -> String {
        let texts: Vec<_> = self.parameters.iter().filter_map(|parameter| parameter.description()).collect();
        let text = texts.first().map_or_else(|| self.name.replace('_', " "), |text| (*text).to_owned());
        format!("{} ({})", text.trim_end_matches('.'), self.kinds())
    }
}

impl Args for ImageParameters {
    fn augment_args(command: Command) -> Command {
        let arg = |named: Named| {
            let arg = Arg::new(named.name).long(named.name.replace('_', "-")).value_name(named.value_name());
            arg.help(named.help()).help_heading("Parameters of the image").num_args(1)
        };
        command.args(names().into_iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ImageParameters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |named: Named| Some((named.name, matches.get_one::<String>(named.name)?.clone()));
        Ok(Self(names().into_iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A file of a video with its parameters, in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileTarget {
    /// The name of the file, such as `thumbnail.jpg`.
    pub(crate) file: String,
    /// The canonical path and query.
    pub(crate) path: String,
    /// The canonical parameters.
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl ImageParameters {
    /// The file of a kind with these parameters. `sheet` is the format of the sheet to which a storyboard's table
    /// refers.
    ///
    /// # Errors
    /// A format or a parameter that the kind does not have, or an invalid value.
    pub(crate) fn target(
        &self,
        video: VideoId,
        kind: FileKind,
        extension: Option<&str>,
        sheet: Option<&str>,
    ) -> CommandResult<FileTarget> {
        let file = kind.file(extension);
        let Some(variant_kind) = kind.variant_kind() else {
            if extension.is_some() || sheet.is_some() || !self.0.is_empty() {
                return Err(Failure::usage("the original has neither a format nor parameters"));
            }
            return Ok(FileTarget { path: format!("/{video}/{file}"), file, parameters: Vec::new() });
        };
        let mut pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.extend(sheet.map(|sheet| format!("format={sheet}")));
        if pairs.iter().any(|pair| pair.contains('&')) {
            return Err(Failure::usage("a parameter contains `&`"));
        }
        match VariantRequest::parse(&format!("/{video}/{file}"), Some(&pairs.join("&"))) {
            Some(Ok(wanted)) => {
                Ok(FileTarget { file, path: wanted.canonical(), parameters: wanted.variant.parameters() })
            }
            Some(Err(wrong)) => {
                let option = wrong.name.replace('_', "-");
                let option = if sheet.is_some() && option == "format" { "sheet" } else { &option };
                Err(Failure::usage(format!("--{option} {}", wrong.why)))
            }
            None => {
                let formats: Vec<_> =
                    variant_kind.formats().iter().map(|format| format.extension()).collect();
                Err(Failure::usage(format!(
                    "--format must be one of {} for {}",
                    formats.join(", "),
                    kind.as_str()
                )))
            }
        }
    }

    /// The canonical parameters that a token for all formats of a kind needs: those of the format in which no value is
    /// the default.
    ///
    /// # Errors
    /// As [`ImageParameters::target`].
    pub(crate) fn for_all_formats(
        &self,
        video: VideoId,
        kind: FileKind,
    ) -> CommandResult<Vec<(&'static str, String)>> {
        let Some(variant_kind) = kind.variant_kind() else {
            return Ok(self.target(video, kind, None, None)?.parameters);
        };
        let mut longest: Vec<(&'static str, String)> = Vec::new();
        for format in variant_kind.formats() {
            match self.target(video, kind, Some(format.extension()), None) {
                Ok(target) if target.parameters.len() > longest.len() => longest = target.parameters,
                Ok(_) => {}
                // A quality is for the other formats.
                Err(_)
                    if *format == OutputFormat::Png && self.0.iter().any(|(name, _)| *name == "quality") => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video() -> VideoId {
        "7zzzzzzzzz0123456789abcdef".parse().unwrap()
    }

    fn parameters(pairs: &[(&'static str, &str)]) -> ImageParameters {
        ImageParameters(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }

    #[test]
    fn path_is_canonical() {
        let path = |kind, extension, pairs: &[(&'static str, &str)]| {
            let target = parameters(pairs).target(video(), kind, extension, None).unwrap();
            target.path.strip_prefix("/7zzzzzzzzz0123456789abcdef/").unwrap().to_owned()
        };
        assert_eq!(path(FileKind::Thumbnail, None, &[]), "thumbnail.jpg");
        assert_eq!(
            path(FileKind::Thumbnail, Some("webp"), &[("width", "320"), ("time", "3.50")]),
            "thumbnail.webp?time=3.5&width=320"
        );
        assert_eq!(path(FileKind::Thumbnail, None, &[("width", "320"), ("dpr", "2")]), "thumbnail.jpg");
        assert_eq!(path(FileKind::Clip, None, &[("start", "2")]), "clip.mp4?start=2&end=12");
        assert_eq!(path(FileKind::Animated, Some("mp4"), &[]), "animated.mp4");
        assert_eq!(path(FileKind::Original, None, &[]), "original");
        let table = parameters(&[]).target(video(), FileKind::Storyboard, Some("vtt"), Some("webp")).unwrap();
        assert!(table.path.ends_with("/storyboard.vtt?format=webp"), "{}", table.path);
    }

    #[test]
    fn errors_name_the_option() {
        let error = |kind, extension, sheet, pairs: &[(&'static str, &str)]| {
            parameters(pairs).target(video(), kind, extension, sheet).unwrap_err().message
        };
        let message = error(FileKind::Thumbnail, None, None, &[("fit_mode", "x")]);
        assert!(message.starts_with("--fit-mode must be preserve, "), "{message}");
        let message = error(FileKind::Clip, None, None, &[("width", "100")]);
        assert!(message.starts_with("--width is not supported"), "{message}");
        let message = error(FileKind::Thumbnail, Some("gif"), None, &[]);
        assert_eq!(message, "--format must be one of jpg, png, webp, avif for thumbnail");
        let message = error(FileKind::Storyboard, Some("vtt"), Some("png"), &[]);
        assert!(message.starts_with("--sheet must be jpg or webp"), "{message}");
        assert!(error(FileKind::Thumbnail, None, None, &[("time", "1&width=9")]).contains('&'));
        assert!(error(FileKind::Original, None, None, &[("time", "1")]).contains("original"));
    }

    #[test]
    fn token_parameters_fit_every_format() {
        let quality = parameters(&[("quality", "81")]);
        assert_eq!(
            quality.for_all_formats(video(), FileKind::Thumbnail).unwrap(),
            [("quality", "81".to_owned())],
            "the default of JPEG, but not of WebP"
        );
        assert_eq!(parameters(&[]).for_all_formats(video(), FileKind::Original).unwrap(), []);
        assert!(parameters(&[("fps", "9")]).for_all_formats(video(), FileKind::Thumbnail).is_err());
    }

    #[test]
    fn every_parameter_is_an_option() {
        let command = ImageParameters::augment_args(Command::new("x"));
        for parameter in &PARAMETERS {
            let arg = command.get_arguments().find(|arg| arg.get_id() == parameter.name).unwrap();
            let help = arg.get_help().unwrap().to_string();
            assert!(help.contains(parameter.kind.as_str()), "{}: {help}", parameter.name);
        }
        let matches = command.get_matches_from(["x", "--fit-mode", "crop", "--time", "3"]);
        let parsed = ImageParameters::from_arg_matches(&matches).unwrap();
        assert_eq!(parsed, parameters(&[("time", "3"), ("fit_mode", "crop")]));
    }
}
