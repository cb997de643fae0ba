//! A reproducible corpus of task rows that reads like the tracker of a software company.
//!
//! Every text is grown from the grammar at the end of this file: what the row is about (a part of a product,
//! the things that it handles), what kind of task it is, and the form that its description takes, from
//! nothing over one line to reports with stack traces. Row `i` depends on the seed and on `i` alone, so a
//! longer sample begins with the shorter one.
//!
//! The first 100,000 rows of seed 42, in tokens of all-MiniLM-L6-v2's tokenizer with `[CLS]` and `[SEP]`, cut at
//! 256: median 42, mean 63.6; 4.1 % are longer before the cut (99th percentile 415, longest 701), 98.0 % of the
//! texts are distinct and 0.24 % are empty. Seeds 1 and 2 are within a token of that.

use std::collections::HashMap;

use crate::task::TaskRow;

/// The seed of the corpus that comes with this repository and that `reembed bench` measures.
pub const DEFAULT_SEED: u64 = 42;

/// The first `rows` rows of the corpus that belongs to `seed`.
///
/// ```
/// let sample: Vec<_> = reembed::sample::task_rows(3, 42).collect();
/// assert_eq!(sample[2].id, "TASK-000003");
/// assert!(reembed::sample::task_rows(9, 42).take(3).eq(sample));
/// ```
pub fn task_rows(rows: u64, seed: u64) -> impl Iterator<Item = TaskRow> {
    let grammar = Grammar::parse(GRAMMAR);
    (0..rows).map(move |row| task_row(&grammar, seed, row))
}

/// How often something is seen, in rows of ten thousand.
mod share {
    /// Rows that repeat the text of an earlier one.
    pub const REPEATED: u64 = 150;
    /// Rows in which there is nothing to embed.
    pub const BLANK: u64 = 20;
    /// Rows in another language than English.
    pub const FOREIGN: u64 = 350;
    pub const TITLE_MISSING: u64 = 60;
    pub const TITLE_EMPTY: u64 = 30;
    pub const DESCRIPTION_MISSING: u64 = 1_500;
    pub const DESCRIPTION_EMPTY: u64 = 200;
    pub const FILES_MISSING: u64 = 3_800;
    pub const FILES_EMPTY: u64 = 900;
    /// Rows that have files and have one more, and so on.
    pub const ANOTHER_FILE: u64 = 3_500;
}

/// Most paths in one row.
const MAX_FILES: usize = 12;

fn task_row(grammar: &Grammar, seed: u64, row: u64) -> TaskRow {
    let mut source = row;
    while let Some(earlier) = repeated_row(seed, source) {
        source = earlier;
    }
    TaskRow { id: format!("TASK-{:06}", row + 1), ..original_row(grammar, seed, source) }
}

/// The row whose text this one repeats, if it repeats any.
fn repeated_row(seed: u64, row: u64) -> Option<u64> {
    let mut dice = Dice::of_row(!seed, row);
    (row > 0 && dice.comes_up(share::REPEATED)).then(|| dice.below(row))
}

/// The row that stands at `row` unless it repeats another; without its id.
fn original_row(grammar: &Grammar, seed: u64, row: u64) -> TaskRow {
    let mut writer = Writer::new(grammar, Dice::of_row(seed, row));
    if writer.dice.comes_up(share::BLANK) {
        return blank_row(&mut writer.dice);
    }
    let (title, body) = if writer.dice.comes_up(share::FOREIGN) {
        ("foreign.title", "foreign.body")
    } else {
        ("title", "body")
    };
    let title = match writer.dice.below(PER) {
        roll if roll < share::TITLE_MISSING => None,
        roll if roll < share::TITLE_MISSING + share::TITLE_EMPTY => Some(String::new()),
        _ => Some(writer.write(title)),
    };
    let description = match writer.dice.below(PER) {
        roll if roll < share::DESCRIPTION_MISSING => None,
        roll if roll < share::DESCRIPTION_MISSING + share::DESCRIPTION_EMPTY => Some(String::new()),
        _ => Some(writer.write(body)),
    };
    let files = match writer.dice.below(PER) {
        roll if roll < share::FILES_MISSING => None,
        roll if roll < share::FILES_MISSING + share::FILES_EMPTY => Some(Vec::new()),
        _ => Some(paths(&mut writer)),
    };
    TaskRow { id: String::new(), title, description, files }
}

/// A row without a character to embed: each field missing or empty.
fn blank_row(dice: &mut Dice) -> TaskRow {
    let mut is_missing = || dice.below(2) == 0;
    TaskRow {
        id: String::new(),
        title: (!is_missing()).then(String::new),
        description: (!is_missing()).then(String::new),
        files: (!is_missing()).then(Vec::new),
    }
}

fn paths(writer: &mut Writer) -> Vec<String> {
    let mut paths = vec![writer.write("path")];
    while paths.len() < MAX_FILES && writer.dice.comes_up(share::ANOTHER_FILE) {
        paths.push(writer.write("path"));
    }
    paths
}

/// Shares are counted in rows of this many.
const PER: u64 = 10_000;

/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the
/// constants of Vigna's reference implementation (prng.di.unimi.it/splitmix64.c, public domain).
struct Dice(u64);

impl Dice {
    /// A stream of its own for each row; the seed is mixed first, so that neighbouring seeds share no rows.
    fn of_row(seed: u64, row: u64) -> Self {
        let mut dice = Dice(seed);
        dice.0 = dice.next() ^ row.wrapping_mul(0xd1b5_4a32_d192_ed03);
        Dice(dice.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, 0 if that is 0. The bias of the product is below 2⁻³² for the bounds used here.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn comes_up(&mut self, share: u64) -> bool {
        self.below(PER) < share
    }
}

/// The rules by name.
struct Grammar(HashMap<&'static str, Rule>);

/// What a name may stand for.
#[derive(Default)]
struct Rule {
    /// Whether a row that has chosen once stays with its choice.
    sticks: bool,
    choices: Vec<Choice>,
}

struct Choice {
    /// The weights of the choices up to this one, added up.
    weight_so_far: u64,
    template: &'static str,
}

impl Grammar {
    /// Reads the notation that is explained at [`GRAMMAR`].
    fn parse(text: &'static str) -> Self {
        let mut rules = HashMap::<&str, Rule>::new();
        let mut name = "";
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some(choices) = line.strip_prefix("  ") else {
                name = line.trim_start_matches('=');
                rules.entry(name).or_default().sticks = line.starts_with('=');
                continue;
            };
            let rule = rules.entry(name).or_default();
            for choice in choices.split(" | ") {
                let (weight, template) = weight_and_template(choice);
                let weight_so_far = rule.weight() + weight;
                rule.choices.push(Choice { weight_so_far, template });
            }
        }
        Grammar(rules)
    }
}

impl Rule {
    fn weight(&self) -> u64 {
        self.choices.last().map_or(0, |choice| choice.weight_so_far)
    }
}

/// `*3 text` is three times as likely as `text`.
fn weight_and_template(choice: &'static str) -> (u64, &'static str) {
    choice
        .strip_prefix('*')
        .and_then(|rest| rest.split_once(' '))
        .and_then(|(weight, template)| Some((weight.parse().ok()?, template)))
        .unwrap_or((1, choice))
}

/// Writes the texts of one row.
struct Writer<'a> {
    grammar: &'a Grammar,
    dice: Dice,
    /// What the sticking rules have chosen for this row.
    kept: HashMap<&'a str, String>,
    /// The last choice made in each rule; the next one is a different one.
    last: HashMap<&'a str, usize>,
}

impl<'a> Writer<'a> {
    fn new(grammar: &'a Grammar, dice: Dice) -> Self {
        Writer { grammar, dice, kept: HashMap::new(), last: HashMap::new() }
    }

    /// One text of the rule with that name.
    fn write(&mut self, name: &str) -> String {
        let grammar = self.grammar;
        let Some((&name, rule)) = grammar.0.get_key_value(name) else {
            debug_assert!(false, "the grammar has no rule `{name}`");
            return String::new();
        };
        if let Some(kept) = self.kept.get(name) {
            return kept.clone();
        }
        let roll = self.dice.below(rule.weight());
        let mut position = rule.choices.partition_point(|choice| choice.weight_so_far <= roll);
        if self.last.get(name) == Some(&position) {
            position = (position + 1) % rule.choices.len();
        }
        self.last.insert(name, position);
        let text = self.fill(rule.choices[position].template);
        if rule.sticks {
            self.kept.insert(name, text.clone());
        }
        text
    }

    /// A template with its references replaced.
    fn fill(&mut self, template: &str) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['@', '\\']) {
            text.push_str(&rest[..at]);
            let is_escape = rest[at..].starts_with('\\');
            rest = &rest[at + 1..];
            if is_escape {
                let (character, length) = match rest.as_bytes().first() {
                    Some(b'n') => ('\n', 1),
                    Some(b't') => ('\t', 1),
                    Some(b'p') => ('|', 1),
                    _ => ('\\', 0),
                };
                text.push(character);
                rest = &rest[length..];
            } else {
                let reference = Reference::parse(rest);
                rest = &rest[reference.length..];
                let value = self.value_of(reference.name);
                reference.style.apply(&value, &mut text);
            }
        }
        text.push_str(rest);
        text
    }

    /// What a name, a range or a count of digits stands for.
    fn value_of(&mut self, name: &str) -> String {
        if let Some((first, last)) = name.split_once("..") {
            let (first, last) = (number(first), number(last));
            return (first + self.dice.below(last + 1 - first)).to_string();
        }
        if let Some(digits) = name.strip_prefix('x').and_then(|digits| digits.parse().ok()) {
            return (0..digits).map(|_| HEX[self.dice.below(16) as usize]).collect();
        }
        if name.contains('@') {
            let name = self.fill(name);
            return self.write(&name);
        }
        self.write(name)
    }
}

const HEX: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

fn number(digits: &str) -> u64 {
    let number = digits.parse();
    debug_assert!(number.is_ok(), "the grammar has a bad number `{digits}`");
    number.unwrap_or(0)
}

/// What stands behind an `@`.
struct Reference<'a> {
    style: Style,
    name: &'a str,
    /// Bytes of the template that it takes, without the `@`.
    length: usize,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Self {
        let (style, rest) = match text.as_bytes().first() {
            Some(b'^') => (Style::Sentence, &text[1..]),
            Some(b'_') => (Style::Snake, &text[1..]),
            Some(b'-') => (Style::Kebab, &text[1..]),
            Some(b'!') => (Style::Pascal, &text[1..]),
            _ => (Style::Plain, text),
        };
        let before = text.len() - rest.len();
        if let Some((name, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            return Reference { style, name, length: before + name.len() + 2 };
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        Reference { style, name: &rest[..end], length: before + end }
    }
}

/// How a text is written where it is used.
#[derive(Clone, Copy)]
enum Style {
    /// As it is.
    Plain,
    /// With a capital at its beginning.
    Sentence,
    /// `like_this`.
    Snake,
    /// `like-this`.
    Kebab,
    /// `LikeThis`.
    Pascal,
}

impl Style {
    fn apply(self, text: &str, out: &mut String) {
        match self {
            Style::Plain => out.push_str(text),
            Style::Sentence => push_capitalised(text, out),
            Style::Snake | Style::Kebab => {
                for (position, word) in words(text).enumerate() {
                    if position > 0 {
                        out.push(if matches!(self, Style::Snake) { '_' } else { '-' });
                    }
                    out.push_str(&word.to_lowercase());
                }
            }
            Style::Pascal => words(text).for_each(|word| push_capitalised(word, out)),
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn push_capitalised(text: &str, out: &mut String) {
    let mut characters = text.chars();
    out.extend(characters.next().into_iter().flat_map(char::to_uppercase));
    out.push_str(characters.as_str());
}

/// A line that begins at the margin names a rule; with `=`, a row that has chosen once stays with its choice.
/// The indented lines below it hold its choices, separated by ` | `, and `*3 ` makes one three times as likely.
/// In a choice `@name` or `@{name}` stands for a text of that rule, `@{2..9}` for a number, `@{x8}` for eight
/// hexadecimal digits, and `@{@area.part}` for a text of the rule whose name is found by filling in what stands
/// inside. `@^name` begins with a capital; `@_name`, `@-name` and `@!name` are written as identifiers. `\n` and
/// `\t` are a new line and a tab, `\p` is a vertical bar.
const GRAMMAR: &str = r##"
# What a row is about. An area gives the parts of the product, the things they handle, what goes wrong there
# and what people want; the other rules only ever speak about the area, part and thing of their row.
=area
  auth | billing | search | mobile | pipeline | infra | ui | notify | reports | api | storage | editor
  access | ml | import | calendar | observe | chat | shop | build
=part
  @{@area.part}
=thing
  @{@area.thing}
=second
  @{@area.thing}
another
  @{@area.thing}
elsewhere
  @{@area.part}
=wrong
  @{@area.wrong}
=want
  @{@area.want}

auth.part
  login page | session store | token refresh endpoint | SSO callback | password reset flow | MFA enrolment screen
  identity service | account lockout check | OAuth consent screen | sign-up wizard | JWT validator
auth.thing
  session token | reset link | magic link | refresh token | SAML assertion | recovery code | API key | cookie
  device trust record | login attempt | service account | passkey
auth.wrong
  loops back to itself | rejects valid tokens for a minute after a restart | accepts expired credentials
  logs the user out without a message | returns 401 instead of 403 | loses the return URL | ignores the clock skew setting
  locks out the wrong account | shows a blank page to invited users | compares e-mail addresses case-sensitively
auth.want
  support passkeys on all browsers | let admins revoke every session at once | remember trusted devices for 30 days
  rotate signing keys without downtime | offer sign-in with a work account | warn before a session ends
  enforce two-factor for owners | show recent logins on the profile page | expire reset links after first use
billing.part
  invoice generator | payment webhook | subscription page | tax calculator | dunning job | coupon engine | ledger
  usage meter | refund form | checkout session | price table | credit note export
billing.thing
  invoice | line item | refund | proration | VAT number | payment method | plan change | coupon | receipt | payout
  usage record | credit note | chargeback
billing.wrong
  charges twice when the card is slow | rounds half cents the wrong way | sends receipts in the wrong currency
  skips customers whose trial ends on the 31st | shows last month's total | drops the tax line for Swiss customers
  marks paid invoices as overdue | fails on negative amounts | creates gaps in the invoice numbers
billing.want
  show prorated amounts before a plan change | accept SEPA direct debit | let customers download all receipts as one PDF
  retry failed cards on a smarter schedule | bill seats by the day | support purchase order numbers
  reconcile payouts with the bank statement every night | add a spending cap per workspace
search.part
  query parser | autocomplete box | ranking service | index builder | synonym editor | facet sidebar | spell checker
  result page | vector index | reindex job | snippet highlighter
search.thing
  search term | document | synonym | facet | embedding | filter | result | stop word | shard | snippet | saved search
search.wrong
  returns nothing for quoted phrases | ranks archived items first | ignores accents | times out on wildcard queries
  counts every facet twice | highlights the wrong words | forgets filters when paging | misses items created in the last hour
  splits part numbers at the hyphen | runs out of heap on large result sets
search.want
  search inside attachments | boost exact title matches | explain why a result is shown | support "sort by newest"
  keep the index fresh within 5 seconds | suggest corrections for typos | let teams pin results
  mix keyword and vector scores | log zero-result queries
mobile.part
  Android app | iOS app | offline cache | push handler | camera screen | deep link router | onboarding carousel
  barcode scanner | background sync | settings tab | tablet layout
mobile.thing
  push notification | photo | draft | deep link | offline edit | permission prompt | crash report | device token
  swipe gesture | thumbnail | sync conflict
mobile.wrong
  crashes on rotation | drains the battery in the background | shows yesterday's data after a cold start
  asks for the camera permission twice | cuts off text at large font sizes | opens links in the wrong account
  freezes on a slow network | loses edits made in airplane mode | ignores dark mode
mobile.want
  support landscape on tablets | upload photos in the background | add a home screen widget | unlock with the fingerprint reader
  reduce the download size below 40 MB | keep drafts when the app is killed | add haptic feedback to the scanner
pipeline.part
  ingestion job | nightly batch | Kafka consumer | dbt model | dead letter queue | backfill script | schema registry
  warehouse loader | dedup stage | change data capture connector | Airflow DAG
pipeline.thing
  event | partition | Parquet file | watermark | checkpoint | late record | tombstone | schema change | data file | offset
  snapshot | staging table
pipeline.wrong
  writes duplicates after a rebalance | stops at the first malformed record | reads the same partition twice
  falls behind by hours every Monday | drops records with a null key | treats midnight UTC as the previous day
  fills the disk with temporary files | silently casts decimals to floats | commits offsets before the write
pipeline.want
  make the load idempotent | alert when the row count drops by more than 20 % | compact small files every night
  backfill the last 90 days | validate the schema before the load | switch from full to incremental loads
  track lineage per column | mask personal data before staging
infra.part
  Terraform module | Kubernetes cluster | ingress controller | staging environment | load balancer | bastion host
  autoscaler | DNS zone | secrets manager | NAT gateway | backup job | Postgres primary | Redis cluster
infra.thing
  node pool | certificate | firewall rule | replica | snapshot | pod | secret | volume | IP range | service account
  health check | quota
infra.wrong
  runs out of connections at peak | evicts pods during every deploy | leaks disk volumes | fails over too late
  resolves to the old address | ignores the memory limit | drifts from what Terraform says | takes 20 minutes to drain
  restarts in a loop after the kernel update | rejects the renewed certificate
infra.want
  restore a backup into a fresh account every week | move to spot instances for batch work | pin image digests
  encrypt volumes at rest with our own key | split staging from production networks | cut the cloud bill by 15 %
  automate certificate renewal | add a second availability zone | document the failover drill
ui.part
  dashboard | date picker | sidebar | data table | modal dialog | colour theme | form validation | toast | empty state
  command palette | onboarding tour | breadcrumb | file drop zone
ui.thing
  button | tooltip | column | icon | dropdown | keyboard shortcut | focus ring | label | badge | skeleton loader | filter chip
ui.wrong
  jumps when the scrollbar appears | traps the keyboard focus | overlaps the footer on small screens
  fails the contrast check in dark mode | is announced twice by screen readers | flickers on hover | forgets its column widths
  closes when text is selected with the mouse | renders 5,000 rows at once | shows a spinner for ever
ui.want
  make it usable with the keyboard alone | follow the system theme | let people reorder columns | show a helpful empty state
  use the new spacing tokens | support right-to-left languages | undo the last action with Ctrl+Z
  load rows as the user scrolls | keep filters in the URL
notify.part
  e-mail digest | webhook sender | SMS gateway | notification centre | unsubscribe page | template renderer | bounce handler
  Slack integration | quiet hours scheduler | mail queue
notify.thing
  e-mail | webhook | template | bounce | digest | subscription | mention | reminder | delivery attempt | preference
notify.wrong
  sends the same message three times | ignores quiet hours | uses the wrong time zone | escapes HTML in the subject
  keeps mailing addresses that bounced | links to localhost | signs requests with the old secret | retries for ever on 410
  goes to people who left the project
notify.want
  group mentions into one message | let users mute a thread | sign every payload | show delivery attempts to admins
  send a weekly summary | add a plain-text version | respect the language of the recipient | support one-click unsubscribe
reports.part
  revenue report | export to Excel | scheduled report | chart widget | cohort table | KPI page | pivot view | PDF renderer
  metrics cube | drill-down panel
reports.thing
  chart | metric | date range | cohort | CSV export | filter | dimension | forecast | total | report
reports.wrong
  disagrees with the ledger by a few cents | counts test accounts | shows weeks starting on Sunday | times out for a full year
  exports numbers as text | divides by zero for new workspaces | mixes up currencies | leaves out the last day of the range
reports.want
  compare with the previous period | schedule exports to an S3 bucket | add a median next to the average
  explain how each metric is computed | save views per team | show targets as a line | colour-blind safe palettes in charts
api.part
  REST gateway | GraphQL resolver | rate limiter | pagination cursor | OpenAPI document | public SDK | bulk endpoint
  webhook signature check | CORS middleware | request validator | gRPC service
api.thing
  request | cursor | idempotency key | error code | header | field mask | page size | payload | deprecation notice | client
api.wrong
  returns 500 for an unknown enum value | ignores the page size | leaks stack traces to clients | accepts unknown fields
  breaks when the cursor is URL-encoded | answers 200 with an error in the body | counts retries against the quota
  truncates 64-bit ids in JavaScript | drops the Retry-After header
api.want
  version the endpoints by date | return problem details as in RFC 9457 | support partial updates | generate the SDK from the spec
  accept idempotency keys on every POST | publish rate limits in headers | stream large responses
  let clients ask for only the fields they need
storage.part
  upload service | file browser | thumbnail worker | virus scanner | retention job | object store client | share link page
  multipart upload | archive tier | quota check
storage.thing
  file | folder | upload | share link | thumbnail | version | checksum | attachment | bucket | archive
storage.wrong
  loses the extension of renamed files | never finishes for files above 2 GB | shows deleted folders | counts trash against the quota
  leaves orphaned parts behind | fails on names with a plus sign | serves stale thumbnails | rejects empty files
storage.want
  resume interrupted uploads | restore any version of the last 30 days | preview PDFs without a download
  set an expiry date on share links | deduplicate by checksum | let admins see who downloaded what
editor.part
  rich text editor | comment thread | version history | paste handler | table block | mention menu | Markdown export
  collaborative cursor | code block | spell check
editor.thing
  comment | paragraph | revision | table cell | heading | link | emoji | draft | suggestion | image block
editor.wrong
  swallows the first character | moves the cursor to the end on save | pastes invisible characters | breaks undo after a paste
  merges lists that should stay apart | doubles line breaks in exports | loses comments when the paragraph moves
  cannot be used with a Japanese keyboard
editor.want
  paste tables from spreadsheets | show who changed a line | support footnotes | add slash commands
  keep comments on moved text | export clean Markdown | lock a page while it is under review
access.part
  permission matrix | role editor | invitation flow | audit log | guest access | policy engine | group sync | admin console
  approval workflow | API scope check
access.thing
  role | permission | invitation | group | guest | audit record | access rule | scope | owner | approval | workspace
access.wrong
  shows private projects to guests | lets members promote themselves | caches permissions for an hour | denies owners after a transfer
  writes no audit entry for bulk changes | keeps access after removal from the group | sends invitations to deleted users
access.want
  add a read-only role | let owners delegate approvals | sync groups from the directory | export the audit log as JSON lines
  show why access was denied | review guests every quarter | separate billing from admin rights
ml.part
  training pipeline | feature store | model registry | embedding service | inference server | labelling tool
  evaluation report | prompt template | drift monitor | recommendation widget
ml.thing
  model | feature | label | prompt | checkpoint | training run | embedding | prediction | dataset | test split | weight file
ml.wrong
  gives different scores for the same input | runs out of GPU memory at batch size 64 | trains on rows from the test split
  falls back to the CPU without a warning | serves last week's weights | returns NaN for empty text | pads every batch to 512
  truncates long documents without a note
ml.want
  pin the model version per customer | measure recall on the hold-out set | cache embeddings by content hash
  roll back a model in one click | batch requests by length | compare int8 with float32 | log inputs for drift analysis
  explain each recommendation in one line
import.part
  CSV importer | mapping screen | Jira import | Excel parser | migration wizard | validation report | address book sync
  encoding detector | duplicate finder
import.thing
  row | column mapping | header | duplicate | encoding | date format | attachment | custom field | import run | rejected record
import.wrong
  reads dates as month/day | stops at the first empty line | turns leading zeros into numbers | imports the header as data
  creates duplicates on retry | garbles umlauts | runs out of memory at 200,000 rows | maps two columns to one field
import.want
  preview the first 50 rows | let users fix rejected rows in place | undo an import | detect the delimiter
  import attachments too | show progress with a time estimate | map custom fields automatically
calendar.part
  booking page | recurring event editor | time zone converter | iCal feed | availability check | room finder | reminder job
  shift planner | holiday list
calendar.thing
  event | reminder | time slot | recurrence rule | attendee | room | shift | holiday | invitation | booking
calendar.wrong
  shifts events by an hour after the clock change | double-books rooms | ignores declined invitations | ends all-day events a day early
  repeats cancelled meetings | shows slots in the past | forgets the 29th of February
calendar.want
  propose times across time zones | block travel time | add buffer time between meetings | sync both ways with Outlook
  let guests reschedule without an account | respect local holidays | print the week on one page
observe.part
  alert rule | log shipper | trace sampler | status page | on-call rota | SLO dashboard | metrics exporter | error tracker
  synthetic check | incident bot
observe.thing
  alert | log line | span | metric | dashboard | runbook | error budget | label | page | incident
observe.wrong
  fires every night at 3 | drops spans above 64 KB | pages the wrong team | stays green during an outage
  groups unrelated errors | explodes in cardinality | logs personal data | loses lines on rotation
observe.want
  alert on symptoms and not on causes | link each alert to its runbook | trace requests through the queue
  sample slow requests only | keep logs for 400 days | show error budgets to product owners | test the paging path weekly
chat.part
  message list | typing indicator | presence service | thread view | bot framework | voice call | emoji picker | search in chat
  moderation queue | support widget | canned replies
chat.thing
  message | thread | reaction | attachment | bot command | read receipt | mention | channel | call | transcript
chat.wrong
  shows messages out of order | keeps people online for ever | loses the draft when switching channels
  plays the sound for muted threads | renders links of blocked domains | drops calls after 10 minutes | marks everything as read
chat.want
  edit sent messages | schedule a message | translate incoming messages | hand over from bot to human | pin messages
  transcribe calls | limit who can post in announcements
shop.part
  product page | shopping cart | stock counter | shipping calculator | discount banner | order history | returns portal
  wish list | warehouse feed | checkout
shop.thing
  order | product | variant | postcode | parcel | return label | stock level | gift card | review | bundle
shop.wrong
  sells items that are out of stock | forgets the cart after login | shows prices without tax | offers shipping to the wrong country
  applies the discount twice | sorts sizes alphabetically | cancels orders paid by bank transfer
shop.want
  reserve stock during checkout | show delivery dates | split orders by warehouse | let guests track a parcel
  add gift wrapping | suggest the right size | accept returns without a printer
build.part
  CI workflow | release script | Docker image | test runner | linter config | dependency bot | artefact cache | monorepo build
  preview deployment | code signing step | package registry
build.thing
  build | test | cache key | artefact | release tag | lockfile | changelog line | image layer | flaky test | warning
build.wrong
  takes 40 minutes on a clean runner | passes although tests fail | rebuilds everything on a README change
  publishes the wrong tag | needs root in the container | caches broken artefacts | downloads the toolchain each time
  fails only on ARM
build.want
  cut the pipeline below ten minutes | build for ARM and x86 | run only the affected tests | sign every release
  cache dependencies by lockfile | publish nightly builds | fail on new warnings | make the build reproducible

# Facts that a row sticks to.
=customer
  Acme | Globex | Initech | Northwind | Contoso | Umbra Labs | Hooli | Vandelay | Tyrell | Wayne & Co | Soylent
  a customer in @city | a beta tester | the @city office | a large retailer | an enterprise account | a school in @city
city
  Oslo | Lyon | Kraków | São Paulo | Osaka | Austin | Leeds | Zürich | Nairobi | Pune | Tallinn | Montréal | Porto | Gent
=person
  Maya | Jonas | Priya | Chen | Olu | Sofia | Tomasz | Ana | Kenji | Leila | Marta | Diego | Aisha | Björn | Inès | Noah
colleague
  Maya | Jonas | Priya | Chen | Olu | Sofia | Tomasz | Ana | Kenji | Leila | Marta | Diego | Aisha | Björn | Inès | Noah
team
  platform | growth | core | data | mobile | support | security | design systems | payments | infrastructure | QA
=ver
  @{1..9}.@{0..24} | @{1..9}.@{0..24}.@{0..12} | v@{0..6}.@{0..40}.@{0..9} | 202@{4..6}.@{1..12} | v@{1..4}.0.0-rc.@{1..5}
=env
  production | staging | the EU region | us-east-1 | the demo account | on-prem installs | the canary | eu-central-1 | dev
tech
  Redis | Postgres | Kafka | S3 | Elasticsearch | RabbitMQ | DynamoDB | SQLite | ClickHouse | MySQL | nginx | Envoy | etcd
  gRPC | GraphQL | React 19 | Vue | Tailwind | Next.js | Django | Rails 8 | Spring Boot | Tokio | Node 22 | Python 3.13
  OpenSSL 3 | Arrow | DuckDB | Celery | Sidekiq | Temporal | WebAssembly | OpenTelemetry | Vault | Argo CD | Bazel
browser
  Safari 17 | Firefox ESR | Chrome 13@{0..9} | Edge | iOS 18 | Android 14 | the in-app browser | a 4K screen | Windows 11
date
  202@{4..6}-@month-@day
month
  0@{1..9} | 10 | 11 | 12
day
  0@{1..9} | 1@{0..9} | 2@{0..8}
weekday
  Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday night
clock
  @hh:@mm
hh
  0@{0..9} | 1@{0..9} | 2@{0..3}
mm
  @{0..5}@{0..9}
stamp
  @{date}T@clock:@{mm}Z | @date @clock:@mm,@{100..999} | @date @clock:@mm.@{100..999} | [@day/Mar/2026:@clock:@mm +0000]
uuid
  @{x8}-@{x4}-4@{x3}-a@{x3}-@{x12}
ref
  #@{100..9999} | @key-@{10..4999} | INC-@{100..999} | PR @{1000..9999} | RFC @{10..180}
key
  PLAT | WEB | OPS | DATA | MOB | SEC | CORE | PAY | SRCH
host
  @-part-@{0..9}.internal | db-@{1..12}.@{area}.svc | api.example.com | 10.@{0..255}.@{0..255}.@{1..254} | @{area}-worker-@{x5}
url
  https://wiki.example.com/@area/@-thing | https://grafana.example.com/d/@{x9}/@-part?from=now-@{1..48}h
  https://github.com/example/@area/issues/@{12..9800} | https://status.example.com/incidents/@{x10}
  https://example.com/app/@-{another}s?id=@{1000..99999}&tab=history | https://sentry.example.com/issues/@{100000..9999999}/
  https://www.figma.com/file/@{x12}/@!{part} | http://localhost:@{3000..9000}/@-thing/@{1..400}
size
  @{2..900} KB | @{2..900} MB | @{1..40}.@{0..9} GB | @{2..60},@{100..999} rows | @{2..99}k records | @{1..12} million rows
much
  @{2..95} % | @{2..40}x | about @{2..60} seconds | @{20..900} ms | a few percent | half | @{2..12} hours | @{2..9} days
when
  after the update to @ver | since @weekday | when the @thing is empty | on @browser | under load | behind a proxy
  if two tabs are open | with more than @{20..5000} @{another}s | for @customer | in @env | when the network drops
  when the clock changes | on the second attempt | after a cold start | if the name contains an emoji | with @tech
  when the queue is full | on slow connections | in private windows | for users without a last name | on leap days
  during deploys | when the browser language is not English | with a read-only database | after @{2..9} hours of idling
  when the @another was deleted meanwhile | at the end of the month | for accounts older than @{2..9} years | offline
  when called twice within @{1..900} ms | with the feature flag off | if the @elsewhere is slow | at midnight UTC

# Kinds of task: a title and a body for each.
=kind
  *24 bug
  *16 feature
  *8 refactor
  *7 migration
  *6 incident
  *6 docs
  *6 data
  *5 design
  *7 support
  *5 test
  *4 security
  *6 perf
  *5 chore
  *3 ops
  *3 spike

title
  *40 @^headline
  *8 @headline
  *5 [@^area] @^headline
  *3 @^part: @headline
  *3 @commit(@area): @headline
  *2 @commit: @headline
  *2 @key-@{1..4999}: @^headline
  *1 URGENT: @headline
  *1 @^headline!!!
  *1 @^headline (@ref)
  *1 @sign @^headline
  *1 WIP - @headline
  *1 Re: Fwd: @headline
  *1 @^headline [@{1..3}/@{3..5}]
  *1 @^headline, part @{2..4}
  *1 TODO @colleague: @headline
headline
  @{@kind.title}
commit
  fix | feat | chore | refactor | docs | perf | test | build | ci | style
sign
  🐛 | 🚀 | ✨ | 🔥 | ♻️ | 📝 | 🔒 | ⚡ | 🚧 | 💥 | ✅ | 🙈
bug.title
  *6 @part @wrong
  *6 @part @wrong @when
  *2 the @part @wrong
  *2 @thing missing @when
  @part broken @when
  wrong @thing shown in the @part @when
  fix @thing handling in the @part
  cannot save the @thing @when
  @part: @thing and @another get mixed up
  error @{400..504} from the @part @when
  NullPointerException in @!{part} @when
  "undefined" instead of the @thing name in the @part
  regression: the @part @wrong again
  @thing is not deleted @when
  race between the @part and the @elsewhere
feature.title
  *6 @want
  *3 @part: @want
  *2 as an admin I want to @want
  *2 allow more than one @thing per @another
  *2 @want for @customer
  bulk edit for @{thing}s
  add @thing history to the @part
  filter @{thing}s by @another
  show the @thing next to the @another in the @part
  configurable limit for @{thing}s per workspace
  dark launch: @want
  keyboard shortcut for the @part
  optional @thing in the @part
refactor.title
  split the @part out of the @elsewhere | replace @tech with @tech in the @part | remove dead code around the @thing
  make @!{thing} immutable | extract @!{part} from the god class | one code path for @thing and @another
  rename @_thing to @_another everywhere | get rid of global state in the @part | move @thing logic out of the controller
  use the type system for @thing ids | untangle @part and @elsewhere | drop the legacy @part | port the @part to async
  reduce the public surface of the @part | delete the old @thing adapter
migration.title
  move @{thing}s from @tech to @tech | upgrade @tech to @ver | migrate the @part to @tech | backfill @_thing for old accounts
  drop column @_{thing}_old | new schema for @{thing}s | switch @env to @tech | retire @tech in the @part
  dual write @{thing}s during the cut-over | convert @{thing}s to the new format (@{2..9} million left)
  renumber @thing ids to 64 bits | add an index on @_{thing}.@_another | split the @area database
incident.title
  follow-up @ref: @want | postmortem: @part @wrong | INC-@{100..999}: @part down @when | action item: alert when the @part @wrong
  after the outage of @date: @want | runbook for "@part @wrong" | root cause of the @weekday outage of the @part
  incident review @date, the @part | never again: @part @wrong @when
docs.title
  document the @part | explain how a @thing relates to the @another | update the README of @area | outdated screenshot of the @part
  write an ADR about @tech in the @part | onboarding guide for the @team team | broken links in the @area docs
  changelog for @ver | API reference: @thing fields | how-to: @want | glossary entry for "@thing" | diagram of the @part
data.title
  clean up orphaned @{thing}s | deduplicate @{thing}s by @another | report of @{thing}s per @another and month
  find out why @{thing}s doubled on @date | export all @{thing}s of @customer | @thing quality checks in @tech
  anonymise @{thing}s older than @{2..9} years | fix @{20..9000} @{thing}s with a wrong @another | SQL: @{thing}s without @another
  daily snapshot of @{thing}s | reconcile @{thing}s between @tech and @tech | retention of @{thing}s: @{30..720} days
design.title
  redesign the @part | empty state for the @part | mock-ups: @want | icon for @{thing}s | copy for the @thing dialog
  usability test of the @part with @{4..12} people | mobile layout of the @part | colour of @{thing}s in dark mode
  motion for the @part | error messages of the @part | accessibility review: @part | design tokens for the @thing
support.title
  @customer: @part @wrong | customer question about @{thing}s | @customer cannot find the @thing | @customer asks: can we @want?
  refund for @customer after the @part problem | how do I change the @thing? | ticket @{10000..99999}: @thing missing
  @customer wants to @want | escalation: @part @wrong @when | complaint about slow @{thing}s from @customer
  data request (GDPR) from @customer | restore a deleted @thing for @customer
test.title
  flaky test: @_{part}_@_{thing}_@{1..40} | add tests for @thing edge cases | end-to-end test of the @part @when
  property tests for the @part | load test: @{50..5000} @{thing}s per second | fixture for @{thing}s is out of date
  test the @part on @browser | coverage of the @part is @{12..60} % | contract test between @part and @elsewhere
  quarantine the slow @area suite | golden files for the @part | fuzz the @part
security.title
  CVE-202@{4..6}-@{1000..49999} in @tech | XSS in the @part via the @thing name | secrets in the logs of the @part
  pen test finding @{1..30}: @part @wrong | rate limit the @part | rotate the @thing keys | SSRF through the @part
  IDOR: @{thing}s of other tenants readable | threat model for the @part | least privilege for the @part
  remove @thing from URLs | session fixation in the @part
perf.title
  @part is slow @when | N+1 queries in the @part | speed up the @part by @{2..10}x | p99 of the @part above @{1..9} s
  memory leak in the @part | cache @{thing}s for @{1..60} minutes | @tech uses @{60..100} % CPU @when | batch @thing writes
  index scan on @_{thing}s takes @{2..90} s | reduce bundle size of the @part | cold start of the @part takes @{3..40} s
  profile the @part with @size of @{thing}s | lock contention in the @part
chore.title
  bump @tech to @ver | bump @tech in @part | remove the @_{thing}_v2 flag | update licences of @area | delete unused @{thing}s | lint @area | sort imports in @area
  rename branch @area/@-thing | clean up TODOs in the @part | archive the old @part repo | add @colleague to CODEOWNERS of @area
  renew the @thing licence | tidy the @area backlog | typo in the @part | pin @tech
ops.title
  rotate certificates of @env | scale the @part to @{3..40} replicas | disk at @{85..99} % on @host | schedule maintenance on @date
  alert: @part @wrong | restore drill for @{thing}s | on-call handover @date | raise the quota for @{thing}s to @size
  decommission @host | access to @env for @colleague | move cron job @_part to @clock
spike.title
  spike: @tech for @{thing}s? | evaluate @tech against @tech | can we @want? | how much would it cost to @want?
  prototype: @part on @tech | research: how others handle @{thing}s | time-box @{1..5} days: @want | feasibility of one @thing per @another

body
  *52 @s1
  *20 @s2
  *7 @s3
  *6 @{@kind.long}
  *4 @s3\n\n@{@kind.long}
  *3 @s2\n\n@list
  *3 @list
  *3 @trace
  *4 @s1\n\n@log
  *4 @s1\n\n@code
  *2 @s1 @url
  *1 @url
  *3 @quote
  *7 @terse
  *2 @log
  *1 @s1\n
  *1 @table
  *14 @essay
  *3 @saga
s1
  @{@kind.s}
  @s
s2
  @{@kind.s} @s
  @s @{@kind.s}
  @s @s
s3
  @{@kind.s} @s @s
  @s @{@kind.s} @s
  @{@kind.s} @s @{@kind.s} @s
essay
  @s3\n\n@{@kind.long}\n\n@trace\n\n@s2
  @s3 @s2\n\n@s3\n\n@list\n\n@s2
  ## Context\n\n@s3 @s3\n\n## Proposal\n\n@s3\n\n@list\n\n## Open questions\n\n- @question\n- @question\n\n@s1 @url
  @s2\n\n@log\n@log\n@log\n\n@s3\n\n@code\n\n@s2
  @{@kind.long}\n\n---\n\n@^colleague wrote:\n\n> @s2\n> @s1\n\n@s3 @s2\n\n@trace
  @s3\n\n@table\n\n@s3\n\n@code\n\n@list
saga
  @essay\n\n@s3
  @essay\n\n## Update @date\n\n@s3\n\n@{@kind.long}\n\n@log\n@log
  @essay\n\n---\n@^colleague, @date:\n\n@essay
  @s3\n\n```\n@log\n@log\n@log\n@log\n@log\n@log\n```\n\n@trace\n\n@s2\n\n@list\n\n@s3
terse
  see title | same as @ref | tbd | as discussed with @colleague | ask @person | ... | - | n/a | @colleague knows more | +1
  see @url | duplicate of @ref? | quick win | not urgent | needs a decision | blocked by @ref | asap pls | 👍 | ?? | later
s
  We saw this @when. | It started on @date and happens roughly @{2..60} times a day. | @^customer reported it on @weekday.
  The @part talks to the @elsewhere here, so both need a look. | Nobody owns the @part at the moment; the @team team offered to help.
  The current behaviour dates back to @ref. | This blocks the release of @ver. | Low priority, but it annoys people every day.
  There is a workaround: delete the @thing and create it again. | @^person has a branch with a first attempt.
  I could not reproduce it in @env. | We measured @much with @size. | Please do not touch the @elsewhere in the same change.
  The @thing should never be visible before the @another exists. | See also @ref and @ref. | Details are in @url
  Legal asked for this before @date. | The estimate is @{1..13} points, mostly because of the tests. | The design is final.
  It must keep working for clients on @ver and older. | Roll out behind a flag, @{1..25} % first, then everybody.
  Nothing in the logs except a warning about the @another. | The on-call engineer restarted the @part and it went away.
  If the @thing is missing we fall back to the last known one, which is wrong @when.
  Last time this took @{2..9} days, so let's plan for that. | @^tech is already in the stack, so no new dependency is needed.
  The number of @{thing}s grew by @{5..400} % since @date. | Until then we keep the old @thing around.
  My guess is that the @thing is read before the @another is written. | The same code runs in the @elsewhere, where it is fine.
  Half of the support requests of last week were about this. | @^colleague and @colleague discussed it and prefer the second option.
  We agreed in the planning of @date to do only the first step now. | A short screen recording is attached.
  Only @{2..40} of @{50..900} workspaces are affected. | The old @thing stays readable for @{2..24} months.
  Caching hides it most of the time. | Works on my machine 🤷 | It is a one-line change, but the review needs care.
  Tests pass, production does not. | The @part has no tests for this case. | This is not a regression, it never worked.
  Sales promised it to @customer for the next quarter. | The timeout is @{1..120} seconds, which is too @{long}.
  We lose @much every time the @part @wrong. | Compare with how the @elsewhere handles the @another.
  Anything above @size makes it worse. | To be done before @{colleague}'s holiday. | Please add a metric as well.
  @^tech @ver changed the default, and we never noticed. | The documentation says otherwise. | The budget for this is @{1..9} days.
  It would help if the message named the @thing. | Users think that their @thing is lost. | I think we can close @ref with this.
  Remember that the @thing may be null. | The error only shows up @when, so alerts stay silent.
long
  long | short
question
  who owns the @thing? | what happens @when? | do we need the @another at all? | can @tech do this? | is @ver soon enough?
  what does @customer expect? | should the @part know about the @another? | how do we roll back? | how long do we keep @{thing}s?
bug.s
  @^when the @part @wrong. | The @part @wrong, but only @when. | Expected: the @thing is saved. Actual: nothing happens.
  The @part @wrong; a reload helps. | Opening the @thing a second time shows the right @another.
  Since @ver the @part @wrong. | The cause seems to be the check in @!{part}.@{verb}(), which ignores the @another.
  Clicking "Save" twice creates two @{thing}s. | I get "@errmsg" @when. | The status is @{400..504} and the body is empty.
  First seen on @browser, later everywhere. | Reverting @{x7} fixes it.
verb
  validate | load | merge | render | flush | apply | parse | resolve | commit | refresh | dispatch | normalize
feature.s
  @^customer would like to @want. | As a team lead I want to @want, so that nobody has to ask me. | Today this takes @{3..30} clicks.
  Competitors have had this for years. | A first version may leave out the @another. | @{3..80} customers voted for it.
  The @part gets a new button "@^thing". | Default: off; admins can turn it on per workspace. | It should also @{want}.
  Success means that @{10..60} % of active workspaces use it within @{2..6} months. | Keep the setting per user, not per device.
refactor.s
  @!{part} has @{400..4000} lines and @{9..60} responsibilities. | No behaviour may change. | First add tests, then move the code.
  The @thing is validated in @{3..9} places, each a little differently. | Nobody dares to touch @!{part}.@verb any more.
  The old adapter can go once @ref is merged. | Circular import between @_part and @_elsewhere. | Prefer small steps, one PR each.
migration.s
  Write to both stores for @{2..14} days, then switch reads. | @size have to be converted. | A rollback must be possible until @date.
  @^tech @ver reaches its end of life on @date. | The migration runs online, in batches of @{100..5000}. | Downtime: at most @{2..30} minutes.
  Old @{thing}s keep their id. | Check the counts before and after; they must be equal. | The script is resumable.
incident.s
  Between @clock and @clock UTC the @part was unavailable in @env. | Impact: @{2..90} % of requests failed. | We were told by @customer, not by an alert.
  The trigger was a deploy of the @elsewhere at @clock. | Mitigated by a rollback to @ver. | Time to detect: @{2..90} min, time to recover: @{5..300} min.
  The retry storm made it worse. | The runbook pointed to a dashboard that no longer exists. | No data was lost.
docs.s
  The page still describes @ver. | New colleagues ask this every time. | Add an example with a real @thing.
  Two sentences and a diagram are enough. | Please mention what happens @when. | The screenshots show the old @part.
  Split into tutorial, how-to and reference. | The table of @thing fields lacks @_another and @_{thing}_id.
data.s
  @size are affected, the oldest from @date. | Source of truth is @tech. | Run it on a copy first. | Numbers differ by @much from the report of @date.
  The join on @_another multiplies rows. | Nulls in @_thing should count as missing, not as zero. | Deliver as Parquet, one file per month.
  @^person needs it for the board meeting on @date. | Personal data must not leave the EU.
design.s
  Please follow the spacing scale. | Three variants are in Figma: @url | The @thing should be the first thing people see. | Works down to 320 px.
  In the test @{2..6} of @{6..9} people did not find the @part. | Contrast is only @{2..4}.@{0..9}:1. | Use the words that customers use, not ours.
  Loading, empty, error and full states are needed. | Avoid red for anything that is not an error.
support.s
  @^customer writes that the @part @wrong. | Their account is on the @{plan} plan with @{3..900} seats. | They ask for a call this week.
  I told them that we are looking into it. | Workspace id @uuid. | Second request about this in @{2..9} days. | They use @browser.
  Please answer before @weekday, they are about to renew. | Refunded @{5..900}.@{10..99} EUR as a courtesy.
plan
  free | starter | team | business | enterprise | education
test.s
  Fails in about @{1..30} of 100 runs on CI, never locally. | It depends on the order of the tests. | A sleep of @{1..10} s hides the race.
  Cover at least: empty @thing, very long @another, and @when. | The suite takes @{5..55} minutes. | Mock the clock, not the database.
  Seed @{1..99999} reproduces it. | Test data must not contain real names.
security.s
  CVSS @{4..9}.@{0..9}. | Exploitable without an account. | Fix within @{1..30} days according to our policy. | Found by an external tester on @date.
  The @thing appears in access logs in plain text. | Update to @ver or later; no known workaround. | Do not discuss it in public channels.
  Validate on the server; the @part only hides the button. | Audit who could read @{thing}s since @date.
perf.s
  p50 is @{20..200} ms, p99 is @{1..30}.@{0..9} s. | The flame graph shows @{30..90} % in @!{part}.@verb. | @{20..900} queries per request.
  Memory grows by @{1..90} MB per hour. | Target: below @{50..900} ms with @size. | @^tech would cut it to a tenth.
  The plan changes to a sequential scan @when. | Batching @{thing}s by @{8..512} gave @{2..9}.@{0..9}x in a quick test.
chore.s
  Nothing to decide, just do it. | Breaking changes: see the release notes of @ver. | Removes @{20..9000} lines. | The bot opened @{2..20} PRs for it.
  No functional change. | Should be done by the end of the month. | CI must be green on @tech as well.
ops.s
  Window: @date @clock-@clock UTC. | Announce it on the status page @{1..7} days before. | Grafana: @url | Free space shrinks by @{1..40} GB a day.
  Needs approval by @person. | kubectl rollout restart deploy/@-part fixed it for now. | The last drill took @{1..9} h instead of @{10..59} min.
spike.s
  Result is a page with numbers and a recommendation. | Time box: @{1..5} days. | Try it with @size. | Criteria: cost, latency, how hard to operate.
  If it works, we drop @tech. | The vendor claims @{2..100}x; I doubt it. | Ask the @team team, they tried it in 202@{1..5}.

list
  *2 @bullets
  Acceptance criteria:\n@bullets
  - [ ] @step\n- [x] @step\n- [ ] @step
  - [x] @step\n- [ ] @step\n- [ ] @step\n- [ ] @step\n- [ ] @step
  1. @step\n2. @step\n3. @step
  TODO\n* @step\n* @step\n* @step\n* @step
  **In scope**: @want; @step\n**Out of scope**: @step
bullets
  - @step\n- @step
  - @step\n- @step\n- @step
  - @step\n- @step\n- @step\n- @step\n- @step
  * @step\n* @step\n  * @step\n  * @step\n* @step
step
  add a test for the @thing @when | the @part shows the @another | @want | no @thing is lost @when | update the docs
  ask @colleague about @tech | remove the flag @_{thing}_@_another | measure before and after | migrate @{another}s too
  error message names the @thing | works on @browser | logged with the id of the @thing | write a changelog entry
  the @elsewhere is not affected | roll out to @env | dashboards updated | at most @{20..900} ms for @{100..9000} @{thing}s
  review by the @team team | keep the old URL working | @_{thing}_count is exported as a metric | call @customer when it is live
  permission check on the server | translations for @{4..30} languages | delete @_{area}/@_{part}_old | feature flag `@-thing-v2`
bug.long
  *3 Steps to reproduce:\n1. @do\n2. @do\n3. @do\n\nExpected: the @thing is shown.\nActual: the @part @wrong.
  *2 **To reproduce**\n\n1. @do\n2. @do\n3. @do\n4. @do\n\n**Expected**\n@^s\n\n**Actual**\nThe @part @wrong.\n\n**Environment**\n@browser, @ver, @env
  @s1\n\n@trace
  Repro: @do, then @do. @^errmsg.\nHappens in @{1..10} of 10 tries. @s1
  Reported by: @customer\nVersion: @ver\nBrowser: @browser\nSeverity: @{1..4}\n\n@s2
  @s2\n\n```\n@log\n@log\n```\n
do
  open the @part | log in as a guest | create a @thing with an empty name | upload a file of @size | click "Save" twice
  switch the language to Japanese | disconnect the network | wait @{2..30} minutes | delete the @another in a second tab
  press the back button | paste "@{naughty}" into the name field | set the time zone to @zone | call the API with @{thing}_id=@{1..9999}
  import the attached file | scroll to the end of the list | revoke the @thing | restart the @part | run `make @area`
naughty
  Ünïcödé | O'Brien | <b>x</b> | 1e999 | 👩‍👩‍👧 | null | ٠١٢ | ﷽ | a\nb | Robert'); DROP TABLE @{thing}s;-- | 中文 | \u200b
zone
  Asia/Kolkata | Pacific/Auckland | America/St_Johns | UTC | Europe/London | Australia/Lord_Howe
feature.long
  **Problem**: @s1\n**Idea**: @want.\n**Value**: @s1
  User story: as @role I want to @want, because @{because}.\n\n@list
  @s2\n\nAcceptance criteria\n\n- given a @thing, when @do, then @{then}\n- given no @thing, when @do, then @{then}\n- @step
  @s2\n\nOpen points:\n- @question\n- @question\n- @question
role
  a project manager | an accountant | a new user | a developer | a support agent | an admin of @customer | a student | a nurse on call
because
  I have to do it by hand every @weekday | my boss asks for it | we lose @much | auditors want proof | spreadsheets get out of hand
then
  the @another is updated | an audit entry is written | a clear error is shown | nothing changes | the @part asks for confirmation
refactor.long
  Before:\n\n@code\n\n@s2
  Plan\n1. @step\n2. introduce @!{thing}Repository\n3. move callers (@{4..90} places)\n4. delete @!{part}Helper
  @s2 Modules involved: @path, @path and @path.
migration.long
  Phases:\n1. create `@_{thing}s_v2`\n2. dual write from @date\n3. backfill (@size)\n4. compare\n5. switch reads\n6. drop `@_{thing}s`\n\n@s1
  ```sql\n@sql\n```\n@s2
  @s2\n\nRollback: @step. Contact: @person. Window: @date @clock UTC.
incident.long
  Timeline (UTC)\n@clock deploy of @ver\n@clock first errors in the @part\n@clock page to @person\n@clock rollback\n@clock all clear\n\n@s2
  ## Impact\n@s1\n## Root cause\n@s1\n## What went well\n- @step\n## What went wrong\n- the @part @wrong\n## Actions\n- @step\n- @want
  @log\n@log\n@log\n\n@s2
docs.long
  Outline:\n- what is a @thing\n- how to @want\n- limits (@size)\n- troubleshooting: "@part @wrong"
  @s2\n\n> Note: @s1\n\nSee @url and @url.
data.long
  ```sql\n@sql\n```\n@s2
  @table\n\n@s1
  @s2\nColumns: @_thing, @_another, @_{thing}_id, created_at, @_{part}_status.
design.long
  States: default, hover, focus, disabled, loading, error.\n@s2
  Feedback from @customer: "@s1" @s2\n\n- @step\n- @step
support.long
  @quote
  Hello team,\n\n@s2\n\nKind regards\n@person
  > @s1\n> @s1\n\nAnswer so far: @s2
test.long
  @trace\n\n@s1
  thread 'main' panicked at @path:@{10..900}:@{1..40}:\nassertion `left == right` failed: @thing\n  left: @{0..900}\n right: @{0..900}\n\n@s1
  Cases:\n@bullets
security.long
  **Summary** @s1\n**Steps** @do; @do\n**Impact** @s1\n**Fix** @step
  curl -s -H 'Authorization: Bearer @{x24}' https://api.example.com/v@{1..4}/@-{thing}s/@{1..9999}\n\n@s2
perf.long
  @table\n\n@s2
  EXPLAIN ANALYZE @sql\n-> Seq Scan on @_{thing}s (cost=0.00..@{1000..99999}.@{10..99} rows=@{100..999999} width=@{8..400}) (actual time=@{0..9}.@{100..999}..@{100..9999}.@{100..999})\n\n@s1
  @s2\n\n@code
chore.long
  @bullets
  @s2\n\n$ git log --oneline\n@{x7} @commit: @headline\n@{x7} @commit: @want\n@{x7} @commit: @step
ops.long
  ```\nNAME                 READY   STATUS             RESTARTS   AGE\n@-{part}-@{x5}   0/1     CrashLoopBackOff   @{2..400}   @{1..90}d\n```\n@s1
  Plan:\n@clock @step\n@clock @step\n@clock @step\n\nRollback: @step
  @log\n\n@s2
spike.long
  Questions:\n1. @question\n2. @question\n3. @question\n\n@s1
  @s2\n\n@table
quote
  Hi,\n@s2\nThanks!\n@person
  "@s1 @s1" (@customer, @date)
  > @s2\n\n@s1
  Copied from the chat:\n@person: @question\n@colleague: @s1\n@person: ok 👍
  Dear support, @s1 We pay for @{3..900} seats and expect better. @s1 Regards, @person
errmsg
  connection reset by peer | timeout of @{1000..60000}ms exceeded | Cannot read properties of undefined (reading '@_thing')
  duplicate key value violates unique constraint "@_{thing}_pkey" | no such file or directory | invalid byte sequence for encoding "UTF8": 0x@{x2}
  KeyError: '@_thing' | index out of range [@{5..90}] with length @{1..5} | deadlock detected | 413 Payload Too Large
  certificate has expired | unexpected token < in JSON at position 0 | No space left on device (os error 28) | context deadline exceeded
  permission denied for table @_{thing}s | value too long for type character varying(@{20..255}) | x509: unknown authority
log
  @stamp @level @_part - @errmsg (request @uuid)
  @stamp @level [@{x8}] @!{part}: @{thing}=@{1..99999} took @{2..90000} ms
  @host - - @stamp "@method /v@{1..3}/@-{thing}s/@{1..99999} HTTP/1.1" @{200..504} @{20..90000} "-" "curl/8.@{0..9}"
  {"level":"@level","ts":@{1700000000..1799999999},"msg":"@errmsg","@_{thing}_id":@{1..99999},"retry":@{0..9}}
  @{month}-@day @clock:@mm @host @-part[@{100..65000}]: @errmsg
  time="@stamp" level=@level msg="@thing @{1..9000} skipped" err="@errmsg" attempt=@{1..9}
  kernel: Out of memory: Killed process @{100..65000} (@-part) total-vm:@{100000..9999999}kB
level
  ERROR | WARN | INFO | error | warn | FATAL | DEBUG
method
  GET | POST | PUT | PATCH | DELETE
trace
  ```\n@rawtrace\n```
  @rawtrace
rawtrace
  Traceback (most recent call last):\n  File "/srv/@area/@_{part}.py", line @{10..900}, in @{verb}\n    self.@_{thing} = load(@_another)\n  File "/srv/@area/@_{elsewhere}.py", line @{10..900}, in @{verb}\n    raise ValueError(f"bad @thing: {value!r}")\nValueError: bad @thing: @{naughty}
  java.lang.IllegalStateException: @errmsg\n\tat com.example.@area.@!{part}.@verb(@!{part}.java:@{10..900})\n\tat com.example.@area.@!{elsewhere}Impl.@verb(@!{elsewhere}Impl.java:@{10..900})\n\tat java.base/java.lang.Thread.run(Thread.java:1583)
  TypeError: @errmsg\n    at @!{part}.@verb (webpack://app/./src/@area/@!{part}.tsx:@{10..900}:@{2..60})\n    at async Promise.all (index @{0..9})\n    at async @!{elsewhere}.@verb (@!{elsewhere}.ts:@{10..400}:@{2..40})
  panic: runtime error: @errmsg\n\ngoroutine @{1..900} [running]:\nexample.com/@area/@_{part}.(*@!{thing}).@^verb(0xc000@{x6})\n\t/src/@area/@_{part}.go:@{10..900} +0x@{x3}
  thread 'worker-@{0..31}' panicked at crates/@area/src/@_{part}.rs:@{10..900}:@{5..60}:\nindex out of bounds: the len is @{1..9} but the index is @{10..99}, @errmsg\nnote: run with `RUST_BACKTRACE=1`
  System.NullReferenceException: Object reference not set to an instance of an object.\n   at Example.@!{part}.@^verb(@!{thing} value) in C:\agent\src\@!{part}.cs:line @{10..900}
  Fatal error: Uncaught PDOException: @errmsg in /var/www/@area/@!{part}.php:@{10..900}\nStack trace:\n#0 /var/www/@area/@!{elsewhere}.php(@{10..400}): @!{part}->@verb()\n#1 {main}
code
  ```python\ndef @{verb}_@_{thing}(@_second, limit=@{10..900}):\n    if not @_second:\n        return None  # TODO(@person): @{question}\n    return @_{part}.@verb(@_second)[:limit]\n```
  ```rust\nlet @_thing = @_{part}.@verb(&@_second)?;\nassert!(@_{thing}.len() <= @{10..900});\n```
  ```ts\nexport async function @verb@!{thing}(id: string) {\n  const res = await fetch(`/api/@-{thing}s/${id}`);\n  if (res.status === @{400..429}) throw new @!{part}Error("@errmsg");\n}\n```
  ```sql\n@sql\n```
  ```yaml\n@_{part}:\n  enabled: @flag\n  max_@_{thing}s: @{1..900}\n  timeout: @{1..90}s\n```
  ```diff\n- @_{thing}_limit = @{1..90}\n+ @_{thing}_limit = @{100..900}\n```
  ```json\n{"@_thing": {"id": "@uuid", "@_second": @flag, "total": @{1..9999}.@{10..99}}}\n```
  `@!{part}::@verb()` should take a `&@!{thing}`, not a `String`.
  $ @-area @verb --@-thing @{1..900} --dry-run\nerror: @errmsg
flag
  true | false | null
sql
  SELECT @_second, count(*) FROM @_{thing}s WHERE created_at >= '@date' GROUP BY 1 ORDER BY 2 DESC LIMIT @{5..100};
  UPDATE @_{thing}s SET @_second = NULL WHERE id IN (SELECT @_{thing}_id FROM @_{part}_log WHERE status = '@flag');
  ALTER TABLE @_{thing}s ADD COLUMN @_second bigint NOT NULL DEFAULT @{0..9};
  SELECT t.id, t.@_second FROM @_{thing}s t LEFT JOIN @_{second}s a ON a.@_{thing}_id = t.id WHERE a.id IS NULL;
  DELETE FROM @_{thing}s WHERE deleted_at < now() - interval '@{2..90} days' AND tenant_id = @{1..9999};
  CREATE INDEX CONCURRENTLY idx_@_{thing}s_@_second ON @_{thing}s (@_second, created_at);
table
  \p size \p before \p after \p\n\p--\p--\p--\p\n\p @{10..99} \p @{100..900} ms \p @{10..99} ms \p\n\p @{1000..9999} \p @{2..90} s \p @{100..900} ms \p
  \p @thing \p count \p\n\p---\p---:\p\n\p @another \p @{1..9999} \p\n\p @another \p @{1..9999} \p\n\p (none) \p @{0..99} \p
  @_thing,@_another,total\n@date,@{1..900},@{1..9999}.@{10..99}\n@date,@{1..900},@{1..9999}.@{10..99}

# Paths that a task touches.
=stack
  *4 py
  *4 ts
  *3 rs
  *3 go
  *3 java
  *2 rb
  *2 cs
  *1 kt
  *1 swift
  *1 php
path
  *12 @{@stack.path}
  @{any.path}
word
  @thing | @another | @elsewhere | @part | @verb
py.path
  @area/@_{word}.py | src/@area/@_{word}_@_{word}.py | tests/test_@_{word}.py | services/@area/app/@_{word}/views.py | @_{word}.py
ts.path
  web/src/@area/@!{word}.tsx | packages/@area/src/@-{word}.ts | src/components/@!{word}/@!{word}.test.tsx | apps/web/pages/@-{word}.tsx | @-{word}.ts
rs.path
  crates/@area/src/@_{word}.rs | src/@_{word}.rs | src/@area/@_{word}/mod.rs | tests/@_{word}.rs | benches/@_{word}.rs
go.path
  internal/@area/@_{word}.go | cmd/@-{word}/main.go | pkg/@area/@_{word}_test.go | @area/@_{word}.go
java.path
  src/main/java/com/example/@area/@!{word}Service.java | @area/src/test/java/com/example/@!{word}Test.java | @!{word}.java
rb.path
  app/models/@_{word}.rb | app/controllers/@_{word}s_controller.rb | spec/@area/@_{word}_spec.rb | lib/tasks/@_{word}.rake
cs.path
  src/Example.@!{area}/@!{word}.cs | Example.Tests/@!{word}Tests.cs | @!{area}/@!{word}Controller.cs
kt.path
  app/src/main/java/com/example/@area/@!{word}Fragment.kt | app/src/main/res/layout/@_{word}.xml | @!{word}ViewModel.kt
swift.path
  App/@!{area}/@!{word}View.swift | AppTests/@!{word}Tests.swift | Sources/@!{area}/@!{word}.swift
php.path
  app/Http/Controllers/@!{word}Controller.php | resources/views/@area/@-{word}.blade.php | src/@!{area}/@!{word}.php
any.path
  docs/@area/@-{word}.md | migrations/@{100..999}_@_{word}.sql | README.md | .github/workflows/@-{word}.yml | Cargo.toml
  package.json | deploy/@env_dir/@-{word}.yaml | terraform/@area/main.tf | config/@_{word}.toml | Dockerfile | Makefile
  db/schema.sql | assets/icons/@-{word}.svg | locales/@{locale}.json | notebooks/@date @{word}.ipynb | scripts/@_{word}.sh
  C:\Users\@person\Documents\@{word}.xlsx | dags/@_{word}.py | models/staging/stg_@_{word}s.sql | proto/@area/v@{1..3}/@_{word}.proto
env_dir
  prod | staging | base | overlays/eu
locale
  de-DE | fr | ja | pt-BR | ar | zh-Hant | pl | en-GB

# Rows in other languages, each with its own few sentences; names of parts stay English, as in real teams.
=tongue
  de | de | fr | es | pt | it | nl | pl | ru | ja | zh | ko | tr | uk | sv | ar | hi
foreign.title
  @{@tongue.title}
  @{@tongue.title} (@part)
  @{@tongue.title} - @ref
  @part: @{@tongue.title}
foreign.body
  @{@tongue.s}
  @{@tongue.s} @{@tongue.s}
  @{@tongue.s} @{@tongue.s} @{@tongue.s}
  @{@tongue.s}\n\n@log
  @{@tongue.s} @s
de.title
  Anmeldung schlägt nach dem Update auf @ver fehl | @^thing wird nicht gespeichert | Übersetzung für „@part“ fehlt
  Rechnung für @customer ist falsch | Langsame Ladezeiten seit @weekday | Bitte @thing für @customer zurücksetzen | Umlaute kaputt (ä, ö, ü, ß)
de.s
  Seit dem @date tritt der Fehler etwa @{2..90}-mal am Tag auf. | Der Kunde @customer hat sich schon zweimal gemeldet. | Bitte vor dem Release @ver erledigen.
  Im Log steht nur „@errmsg“. | Betroffen sind ungefähr @{2..900} Datensätze. | Auf dem Testsystem lässt es sich nicht nachstellen. | Siehe auch @ref.
  Möglicherweise hängt es mit der Umstellung auf @tech zusammen.
fr.title
  Impossible d'enregistrer le formulaire (@thing) | La page @part ne s'affiche plus | Erreur @{400..504} lors de l'export
  Traduction manquante dans @part | Mise à jour vers @ver à planifier | Lenteur constatée chez @customer
fr.s
  Le problème est apparu le @date après la mise en production. | Le client attend une réponse avant vendredi. | Environ @{2..900} utilisateurs sont concernés.
  Le message affiché est « @errmsg ». | À tester également sur @browser. | Voir le ticket @ref pour l'historique. | Il faudrait peut-être vider le cache de @tech.
es.title
  El botón de guardar no responde en @part | Añadir filtro por fecha en @part | No llegan los correos a @customer | Error al importar @size
es.s
  Ocurre desde el @date, sobre todo por la mañana. | El cliente pide una solución antes del lunes. | ¿Podemos revisar los permisos de @thing? | Adjunto captura de pantalla.
  En @env funciona correctamente. | El error dice: @errmsg.
pt.title
  Relatório não fecha com o financeiro | Tela de @part trava no celular | Atualizar @tech para @ver | Duplicação de @thing após nova tentativa
pt.s
  Começou em @date e afeta @{2..900} clientes. | Não há solução de contorno. | O time de @team já está olhando. | Precisamos disso até o fim do mês. | Mensagem: @errmsg
it.title
  Il totale non corrisponde in @part | Aggiungere la conferma via e-mail | Pagina bianca dopo l'accesso | Esportazione lenta con @size
it.s
  Il problema si presenta solo con @browser. | È successo @{2..60} volte questa settimana. | Serve una correzione prima della versione @ver. | Il cliente @customer è molto scontento.
nl.title
  Knop werkt niet meer na update @ver | Factuur wordt dubbel verstuurd | Zoekresultaten zijn leeg in @part | Verlof wordt verkeerd berekend
nl.s
  Gemeld door @customer op @date. | Het gaat om ongeveer @{2..900} gebruikers. | Waarschijnlijk komt het door @tech. | Graag vóór vrijdag oplossen.
pl.title
  Błąd podczas zapisywania formularza | Brak tłumaczeń w @part | Powolne ładowanie listy zamówień | Proszę o usunięcie konta testowego @{1..900}
pl.s
  Problem występuje od @date. | Klient zgłosił to już @{2..9} razy. | W dziennikach widać „@errmsg”. | Na środowisku testowym działa poprawnie.
ru.title
  Ошибка при сохранении документа | Не приходит письмо с подтверждением | Добавить фильтр по дате в @part | Медленно работает поиск после обновления @ver
ru.s
  Проблема появилась @date после обновления. | Затронуто около @{2..900} пользователей. | В журнале: @errmsg. | Нужно исправить до конца недели.
ja.title
  ログイン画面が表示されない | @{thing}の保存に失敗する | 検索結果の並び順がおかしい | バージョン@{ver}への移行計画
ja.s
  @{date}から発生しています。 | 約@{2..900}件のデータに影響があります。 | 再起動すると一時的に直ります。 | お客様から問い合わせがありました。 | ログに「@{errmsg}」と出ています。
zh.title
  登录后页面空白 | 导出报表时超时 | 支付回调重复触发 | 升级到 @ver 后 @part 无法打开 | 搜索不到中文关键词
zh.s
  从 @date 开始出现，每天大约 @{2..90} 次。 | 日志中显示：@{errmsg}。 | 请在下周一之前修复。 | 只有部分用户受影响（约 @{2..900} 人）。
ko.title
  저장 버튼이 동작하지 않음 | 검색 결과가 비어 있음 | @ver 업데이트 후 로그인 오류 | 알림이 두 번 전송됨
ko.s
  @{date}부터 발생했습니다. | 약 @{2..900}명의 사용자에게 영향이 있습니다. | 재현 방법은 첨부 파일을 참고하세요. | 오류 메시지: @errmsg
tr.title
  Kaydet düğmesi çalışmıyor | Fatura iki kez gönderiliyor | @part açılırken hata veriyor | @ver sürümüne geçiş
tr.s
  Sorun @date tarihinden beri görülüyor. | Yaklaşık @{2..900} kullanıcı etkilendi. | İ ve ı harfleri yanlış eşleşiyor. | Günlükte "@errmsg" yazıyor.
uk.title
  Не відкривається сторінка оплати | Додати експорт у CSV | Помилка @{400..504} у @part
uk.s
  З'явилося @date. | Постраждало близько @{2..900} користувачів. | У журналі: @errmsg.
sv.title
  Sökningen hittar inte å, ä och ö | Fel vid utskrift av faktura | Uppgradera @tech till @ver
sv.s
  Felet uppstår sedan @date. | Kunden @customer väntar på svar. | Omkring @{2..900} rader berörs.
ar.title
  لا يمكن حفظ النموذج | خطأ في اتجاه النص في @part | تأخر وصول رسائل البريد
ar.s
  ظهرت المشكلة في @date. | تأثر حوالي @{2..900} مستخدم. | الرسالة: @errmsg
hi.title
  लॉगिन पेज नहीं खुल रहा | रिपोर्ट में गलत योग | @part में हिन्दी अनुवाद नहीं है
hi.s
  यह समस्या @date से आ रही है। | लगभग @{2..900} उपयोगकर्ता प्रभावित हैं। | कृपया शुक्रवार तक ठीक करें।
"##;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::task::build_input_text;

    fn sample(rows: u64, seed: u64) -> Vec<TaskRow> {
        task_rows(rows, seed).collect()
    }

    fn share_of(rows: &[TaskRow], is_meant: impl Fn(&TaskRow) -> bool) -> f64 {
        rows.iter().filter(|row| is_meant(row)).count() as f64 / rows.len() as f64
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(sample(500, 7), sample(500, 7));
        let (left, right) = (sample(500, 7), sample(500, 8));
        let equal = left.iter().zip(&right).filter(|(left, right)| left.title == right.title);
        assert!(equal.count() < 25);
    }

    #[test]
    fn a_longer_sample_begins_with_the_shorter_one() {
        assert_eq!(sample(2_000, 3)[..300], sample(300, 3));
        assert_eq!(sample(0, 3), []);
    }

    #[test]
    fn ids_are_unique_and_texts_nearly_so() {
        let rows = sample(20_000, 1);
        assert_eq!(rows.iter().map(|row| &row.id).collect::<HashSet<_>>().len(), rows.len());
        let texts: HashSet<_> = rows.iter().map(build_input_text).collect();
        let distinct = texts.len() as f64 / rows.len() as f64;
        assert!((0.96..0.99).contains(&distinct), "{distinct}");
        let titles: HashSet<_> = rows.iter().filter_map(|row| row.title.as_ref()).collect();
        assert!(titles.len() * 10 > rows.len() * 8, "{} titles", titles.len());
    }

    #[test]
    fn fields_are_missing_or_empty_as_often_as_meant() {
        let rows = sample(20_000, 2);
        let is_empty = |text: &Option<String>| text.as_deref() == Some("");
        for (name, seen, meant) in [
            ("no title", share_of(&rows, |row| row.title.is_none()), 0.007),
            ("empty title", share_of(&rows, |row| is_empty(&row.title)), 0.004),
            ("no description", share_of(&rows, |row| row.description.is_none()), 0.15),
            ("empty description", share_of(&rows, |row| is_empty(&row.description)), 0.02),
            ("no files", share_of(&rows, |row| row.files.is_none()), 0.38),
            (
                "empty files",
                share_of(&rows, |row| row.files.as_ref().is_some_and(Vec::is_empty)),
                0.09,
            ),
            ("no text", share_of(&rows, |row| build_input_text(row).is_empty()), 0.0025),
        ] {
            assert!((meant * 0.5..meant * 1.5).contains(&seen), "{name}: {seen}");
        }
        assert!(
            rows.iter().flat_map(|row| row.files.iter().flatten()).all(|path| !path.is_empty())
        );
    }

    #[test]
    fn texts_are_of_very_different_length_and_script() {
        let texts: Vec<_> = sample(20_000, 4).iter().map(build_input_text).collect();
        let long = texts.iter().filter(|text| text.chars().count() > 900).count();
        let short = texts.iter().filter(|text| text.chars().count() < 60).count();
        assert!(long > 300 && short > 1_000, "{long} long, {short} short");
        for range in ['а'..='я', 'ぁ'..='ん', '一'..='龥', '가'..='힣', 'ا'..='ي', '🌀'..='🛿']
        {
            assert!(texts.iter().any(|text| text.chars().any(|c| range.contains(&c))), "{range:?}");
        }
    }

    #[test]
    fn every_rule_is_used_and_every_reference_can_be_resolved() {
        let grammar = Grammar::parse(GRAMMAR);
        let mut used = HashSet::from(["title", "body", "path", "foreign.title", "foreign.body"]);
        let named: HashMap<&'static str, Vec<&str>> = HashMap::from(
            ["area", "kind", "stack", "tongue"]
                .map(|name| (name, grammar.0[name].choices.iter().map(|c| c.template).collect())),
        );
        for (name, rule) in &grammar.0 {
            assert!(rule.weight() > 0, "`{name}` has no choices");
            for choice in &rule.choices {
                let mut rest = choice.template;
                while let Some(at) = rest.find('@') {
                    let reference = Reference::parse(&rest[at + 1..]);
                    rest = &rest[at + 1 + reference.length..];
                    let target = reference.name;
                    if let Some((first, last)) = target.split_once("..") {
                        assert!(number(first) <= number(last), "`{name}` counts {target}");
                    } else if let Some((outer, inner)) =
                        target.strip_prefix('@').and_then(|target| target.split_once('.'))
                    {
                        let (outer, chosen) = named.get_key_value(outer).expect("a known choice");
                        used.insert(outer);
                        for chosen in chosen {
                            let full = format!("{chosen}.{inner}");
                            let known = grammar.0.get_key_value(full.as_str());
                            used.insert(known.unwrap_or_else(|| panic!("no rule `{full}`")).0);
                        }
                    } else if target.strip_prefix('x').is_none_or(|n| n.parse::<u8>().is_err()) {
                        let known = grammar.0.get_key_value(target);
                        used.insert(known.unwrap_or_else(|| panic!("`{name}` needs `{target}`")).0);
                    }
                }
            }
        }
        let unused: Vec<_> = grammar.0.keys().filter(|name| !used.contains(*name)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
