//! The files of a model on the hub. A body that breaks off is continued.

use std::io::{self, Read};

use ureq::http::header::{CONTENT_RANGE, ETAG};
use ureq::http::{Response, StatusCode};
use ureq::{Body, BodyReader};

use super::fetcher::{FileSource, OpenFile};
use super::hub::{Hub, header};
use super::reason::Reason;
use super::retry::Answer;

/// Bytes after which a connection that breaks counts as the first one that did.
const PROGRESS_BYTES: u64 = 1 << 20;

const CHANGED: &str = "the file changed while it was fetched";

impl FileSource for Hub<'_> {
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason> {
        let opened = open_body(self, file).map_err(|reason| reason.in_file(file))?;
        Ok(opened.map(|body| OpenFile { length: body.length, body: Box::new(body) }))
    }
}

fn open_body<'h, 'a>(hub: &'h mut Hub<'a>, file: &str) -> Result<Option<HubBody<'h, 'a>>, Reason> {
    let mut count = 0;
    let response = hub.request(file, 0, None, &mut count)?;
    let code = header(&response, "x-error-code");
    match response.status() {
        StatusCode::OK => {
            let tag = strong_tag(&response).map(str::to_owned);
            let body = response.into_body();
            Ok(Some(HubBody {
                hub,
                file: file.to_owned(),
                length: body.content_length(),
                reader: body.into_reader(),
                tag,
                received: 0,
                progress: 0,
                count,
            }))
        }
        // Other codes are a missing model or revision.
        StatusCode::NOT_FOUND if code.is_empty() || code == "EntryNotFound" => Ok(None),
        _ => Err(hub.refusal(&response)),
    }
}

/// The body of a response. Where the connection breaks, another request continues it.
struct HubBody<'h, 'a> {
    hub: &'h mut Hub<'a>,
    file: String,
    reader: BodyReader<'static>,
    length: Option<u64>,
    /// Names the content: the rest of another content does not fit.
    tag: Option<String>,
    received: u64,
    /// What was received when the connection broke last.
    progress: u64,
    /// The requests since then.
    count: u32,
}

impl Read for HubBody<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let cause = match self.reader.read(buffer) {
                Ok(0)
                    if !buffer.is_empty() && self.length.is_some_and(|all| self.received < all) =>
                {
                    "the connection was closed".to_owned()
                }
                Ok(bytes) => {
                    self.received += bytes as u64;
                    return Ok(bytes);
                }
                Err(cause) => cause.to_string(),
            };
            self.resume(&cause).map_err(io::Error::other)?;
        }
    }
}

impl HubBody<'_, '_> {
    /// Requests what is missing.
    fn resume(&mut self, cause: &str) -> Result<(), Reason> {
        if self.received - self.progress >= PROGRESS_BYTES {
            self.count = 1;
        }
        self.progress = self.received;
        let Some(pause) = self.hub.pause(self.count, Answer::Short) else {
            let again = "run again, where the network keeps its connections";
            return Err(Reason::from(cause).or_cure(again));
        };
        (self.hub.on_retry)(&Reason::from(cause).in_file(&self.file), pause);
        self.hub.wait(pause)?;
        let (from, tag) = (self.received, self.tag.as_deref());
        let response = self.hub.request(&self.file, from, tag, &mut self.count)?;
        let skipped = match response.status() {
            StatusCode::PARTIAL_CONTENT if is_rest(&response, from, self.length) => 0,
            // The whole file: the hub knows no ranges.
            StatusCode::OK => from,
            StatusCode::PARTIAL_CONTENT => return Err(CHANGED.into()),
            _ => return Err(self.hub.refusal(&response)),
        };
        let is_same_tag = self.tag.is_none() || strong_tag(&response) == self.tag.as_deref();
        let body = response.into_body();
        let is_same_length = body.content_length().is_none_or(|rest| {
            self.length.is_none_or(|all| rest == all.saturating_sub(from) + skipped)
        });
        if !is_same_tag || !is_same_length {
            return Err(CHANGED.into());
        }
        self.reader = body.into_reader();
        // A connection that breaks in here is resumed by the next read: nothing is received twice.
        let skip = io::copy(&mut self.reader.by_ref().take(skipped), &mut io::sink());
        match skip {
            Ok(bytes) if bytes == skipped => Ok(()),
            Ok(_) => self.resume("the connection was closed"),
            Err(cause) => self.resume(&cause.to_string()),
        }
    }
}

/// Whether a response is the rest of a file of this length, from this byte on.
fn is_rest(response: &Response<Body>, from: u64, length: Option<u64>) -> bool {
    let range = header(response, CONTENT_RANGE.as_str());
    let range = range.strip_prefix("bytes ").and_then(|range| range.split_once('/'));
    range.is_some_and(|(range, all)| {
        let starts = range.split('-').next().and_then(|first| first.parse().ok()) == Some(from);
        let fits = all == "*" || length.is_none_or(|length| all.parse() == Ok(length));
        starts && fits
    })
}

/// The entity tag, unless it is a weak one, which names no bytes.
fn strong_tag(response: &Response<Body>) -> Option<&str> {
    let tag = header(response, ETAG.as_str());
    tag.starts_with('"').then_some(tag)
}
