//! The addresses, and what each answers.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use noprop_experiment::watch::{Epoch, Pause, Training};
use noprop_experiment::{Experiment, Moved, Polarity, Sampling};
use noprop_train::MetricsLog;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::access::guard;
use crate::answers::Sent;
use crate::error::Refusal;
use crate::locked::locked;
use crate::reply::{BodyFault, answer, receive};
use crate::request::new_run;
use crate::site::Site;
use crate::trainer::{Job, told};
use crate::{events, headers, page, weights};

/// The most bytes of a picture or a drawing, and of JSON.
const MAX_PICTURE: usize = 16 << 20;
const MAX_JSON: usize = 1 << 20;
/// The most chains that are averaged, and the most steps of a route.
const MOST_CHAINS: u32 = 100;
const MOST_STEPS: usize = 1000;

type Answered = Result<Response, Refusal>;
type Of = State<Arc<Site>>;

/// The routes to `site`.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let access = Arc::clone(&site.access);
    Router::new()
        .route("/engine.json", get(engine))
        .route("/api/engine", get(engine))
        .route("/api/models", get(models))
        .route("/api/models/{id}", get(model))
        .route("/api/models/{id}/samples/{index}", get(sample))
        .route("/api/models/{id}/classify", post(classify))
        .route("/api/runs", get(runs))
        .route("/api/runs/{id}", get(run))
        .route("/api/runs/{id}/figures/{name}", get(figure))
        .route("/api/runs/{id}/model.safetensors", get(model_file))
        .route("/api/compare", post(compare))
        .route("/api/training", get(training).post(train))
        .route("/api/training/events", get(events::stream))
        .route("/api/training/stop", post(stop))
        .route("/api/training/resume", post(resume))
        .route("/api/training/pause", post(pause))
        .fallback(async |uri: Uri| page::file(uri.path()).ok_or_else(nothing))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this address is not asked in that way")
        })
        .layer(middleware::from_fn_with_state(access, guard))
        .layer(middleware::map_response(headers::dress))
        .with_state(site)
}

fn nothing() -> Refusal {
    Refusal::missing("there is nothing at this address")
}

async fn engine(State(site): Of, headers: HeaderMap) -> Response {
    let granted = site.access.is_granted(&headers);
    let datasets = if granted { site.data.names() } else { Vec::new() };
    answer(&json!({ "engine": "server", "token_needed": !granted, "datasets": datasets }))
}

async fn models(State(site): Of) -> Answered {
    let place = site.place().await?;
    site.compute(place, |site| Ok(answer(&site.models.all(&site.runs)))).await
}

async fn model(State(site): Of, Path(id): Path<String>) -> Answered {
    let place = site.place().await?;
    site.compute(place, move |site| {
        let model = site.models.get(&site.runs, &id)?;
        let model = locked(&model);
        Ok(answer(&model.facts(&id)))
    })
    .await
}

async fn sample(State(site): Of, Path((id, index)): Path<(String, u32)>) -> Answered {
    let place = site.place().await?;
    site.compute(place, move |site| {
        let model = site.models.get(&site.runs, &id)?;
        let model = locked(&model);
        Ok(answer(&model.sample(index)?))
    })
    .await
}

/// The query of a classification.
#[derive(Debug, Deserialize)]
struct Classify {
    image: String,
    side: Option<usize>,
    invert: Option<bool>,
    index: Option<u32>,
    sampler: Option<String>,
    runs: Option<u32>,
    seed: Option<u64>,
    route: Option<String>,
    steps: Option<usize>,
    solver: Option<String>,
}

impl Classify {
    fn image(&self, body: Bytes) -> Result<Sent, Refusal> {
        let needed = |name| Refusal::bad(format!("{name} is missing beside the image"));
        match self.image.as_str() {
            "drawing" => {
                Ok(Sent::Drawing { ink: body, side: self.side.ok_or_else(|| needed("side"))? })
            }
            "picture" => {
                let polarity = match self.invert {
                    Some(true) => Polarity::Inverted,
                    Some(false) | None => Polarity::AsIs,
                };
                Ok(Sent::Picture { file: body, polarity })
            }
            "sample" => Ok(Sent::Sample(self.index.ok_or_else(|| needed("index"))?)),
            _ => Err(Refusal::bad("image must be drawing, picture or sample")),
        }
    }

    fn sampling(&self) -> Result<Sampling, Refusal> {
        let runs = NonZeroU32::new(self.runs.unwrap_or(1)).filter(|runs| runs.get() <= MOST_CHAINS);
        let wrong = || Refusal::bad(format!("runs must be between 1 and {MOST_CHAINS}"));
        let usual = Sampling::default();
        Ok(Sampling {
            kind: given(&self.sampler)?.unwrap_or(usual.kind),
            runs: runs.ok_or_else(wrong)?,
            seed: self.seed.unwrap_or(usual.seed),
            solver: given(&self.solver)?,
            steps: self.steps,
        })
    }

    /// The steps to make, counted from 1; all of them without it.
    fn route(&self) -> Result<Option<Vec<usize>>, Refusal> {
        let Some(list) = &self.route else { return Ok(None) };
        let wrong = || {
            Refusal::bad(format!(
                "route must be at most {MOST_STEPS} numbers of steps, such as 1,3,2"
            ))
        };
        let numbers = list.split(',').filter(|number| !number.is_empty()).take(MOST_STEPS + 1);
        let numbers = numbers.map(|number| number.trim().parse()).collect::<Result<Vec<_>, _>>();
        match numbers {
            Ok(numbers) if numbers.len() <= MOST_STEPS => Ok(Some(numbers)),
            _ => Err(wrong()),
        }
    }
}

/// A name in a query, unless it is open.
fn given<T: FromStr<Err: Display>>(name: &Option<String>) -> Result<Option<T>, Refusal> {
    name.as_deref()
        .filter(|name| !name.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(Refusal::bad)
}

async fn classify(State(site): Of, Path(id): Path<String>, uri: Uri, body: Body) -> Answered {
    let Query(query) =
        Query::<Classify>::try_from_uri(&uri).map_err(|error| Refusal::bad(error.body_text()))?;
    let (sampling, route) = (query.sampling()?, query.route()?);
    let place = site.place().await?;
    let body = received(body, MAX_PICTURE).await?;
    let image = query.image(body)?;
    site.compute(place, move |site| {
        let model = site.models.get(&site.runs, &id)?;
        let model = locked(&model);
        Ok(answer(&model.walk(&image, &sampling, route.as_deref())?))
    })
    .await
}

async fn runs(State(site): Of) -> Answered {
    let place = site.place().await?;
    site.compute(place, |site| Ok(answer(&site.runs.list()))).await
}

async fn run(State(site): Of, Path(id): Path<String>) -> Answered {
    let place = site.place().await?;
    site.compute(place, move |site| Ok(answer(&site.runs.view(&id)?))).await
}

async fn figure(State(site): Of, Path((id, name)): Path<(String, String)>) -> Answered {
    let place = site.place().await?;
    let figure = site.compute(place, move |site| site.runs.figure(&id, &name)).await?;
    // A drawing in SVG could hold a program: opened by itself it may do nothing.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
    let headers = [(header::CONTENT_TYPE, figure.kind), (header::CONTENT_SECURITY_POLICY, policy)];
    Ok((headers, figure.content).into_response())
}

async fn model_file(State(site): Of, Path(id): Path<String>) -> Answered {
    let place = site.place().await?;
    let wanted = id.clone();
    let run = site.compute(place, move |site| site.runs.find(&wanted)).await?;
    weights::file(&id, &run).await
}

#[derive(Deserialize)]
struct Compare {
    runs: Vec<String>,
}

async fn compare(State(site): Of, body: Body) -> Answered {
    let place = site.place().await?;
    let Compare { runs } = json_of(body).await?;
    site.compute(place, move |site| Ok(answer(&site.runs.compare(&runs)?))).await
}

async fn training(State(site): Of) -> Response {
    shown(&site)
}

/// The training as it is now.
fn shown(site: &Site) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], site.trainer.message()).into_response()
}

async fn train(State(site): Of, body: Body) -> Answered {
    let place = site.place().await?;
    let body = received(body, MAX_JSON).await?;
    let make = move |site: &Site| new_run(&body, &site.data, site.runs.folder());
    let (new, planned) = Arc::clone(&site).compute(place, make).await?;
    begin(&site, Job::New(new), planned).await
}

#[derive(Deserialize)]
struct Resume {
    run: String,
}

async fn resume(State(site): Of, body: Body) -> Answered {
    let place = site.place().await?;
    let Resume { run } = json_of(body).await?;
    let open = move |site: &Site| {
        let path = site.runs.find(&run)?;
        let experiment = Experiment::read(&path.join("config.toml"))?;
        // A run that was stopped before its first step has no log.
        let events = MetricsLog::read(&path.join("metrics.jsonl")).unwrap_or_default();
        let history = told(Epoch::of_log(&events), experiment.setup.epochs);
        Ok((Training::of(Some(&run), &experiment.setup, history), path))
    };
    let (planned, path) = Arc::clone(&site).compute(place, open).await?;
    begin(&site, Job::Resume(path, Moved::default()), planned).await
}

/// Starts a training, and answers once it has begun or was refused.
async fn begin(site: &Site, job: Job, planned: Training) -> Answered {
    let run = planned.run.clone();
    let begun = site.trainer.start(job, planned)?;
    begun.await.unwrap_or_else(|_| Err(Refusal::failed("the training did not begin")))?;
    Ok(answer(&json!({ "run": run })))
}

async fn stop(State(site): Of) -> Answered {
    match site.trainer.stop() {
        true => Ok(shown(&site)),
        false => Err(Refusal::new(StatusCode::CONFLICT, "no training is under way")),
    }
}

#[derive(Deserialize)]
struct PauseBlock {
    block: usize,
    paused: bool,
}

async fn pause(State(site): Of, body: Body) -> Answered {
    let PauseBlock { block, paused } = json_of(body).await?;
    site.trainer.pause(block, if paused { Pause::Hold } else { Pause::GoOn })?;
    Ok(shown(&site))
}

/// Receives a body, or refuses it in words.
async fn received(body: Body, most: usize) -> Result<Bytes, Refusal> {
    receive(body, most).await.map_err(|fault| match fault {
        BodyFault::TooLong => {
            let sentence = format!("this is longer than {} MB", most >> 20);
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
        }
        BodyFault::TooSlow => Refusal::bad("the request did not arrive in time"),
    })
}

async fn json_of<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let body = received(body, MAX_JSON).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad(format!("the request cannot be read: {error}")))
}
