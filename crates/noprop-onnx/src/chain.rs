//! The chain in a graph: from noise [N, K, draws, d] to the last embeddings [N, K, d] of K chains, and the beliefs of blocks.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::block::Block;
use crate::error::{ExportError, Result};
use crate::graph::{Attribute, Graph, Value};
use crate::readout::{Embeddings, nearest};
use crate::steps::{Answer, Stage, Step, Steps, Term};

/// Alike steps are written one by one up to this number, and as a loop beyond it. A loop is the smaller file, and a row of nodes is what
/// more programs read.
const MOST_IN_A_ROW: usize = 64;

/// What the steps of a chain have in common.
pub(crate) struct Chain<'a> {
    pub blocks: &'a BTreeMap<usize, Block>,
    pub embeddings: &'a Embeddings,
    pub steps: &'a Steps,
    /// [N, K, draws, d].
    pub noise: &'a Value,
}

/// The end of a chain.
pub(crate) struct End {
    /// [N, K, d].
    pub z: Value,
    /// The class probabilities of each block in its last step, [N, K, classes], in the order of blocks; empty if blocks have none.
    pub beliefs: Vec<Value>,
}

/// The values of a stage: the row of its time, and the factor of each of its terms.
struct Given {
    time: Option<Value>,
    factors: Vec<Value>,
}

impl Chain<'_> {
    /// Makes all steps.
    pub fn walk(&self, graph: &mut Graph) -> Result<End> {
        let mut z = self.draw(graph, 0);
        let mut beliefs = Vec::new();
        let mut done = 0;
        while let Some(step) = self.steps.all.get(done) {
            let rest = self.steps.all.iter().skip(done);
            let alike = rest.take_while(|other| is_alike(step, other)).count();
            if alike > MOST_IN_A_ROW {
                z = self.many(graph, done..done + alike, &z)?;
                done += alike;
                continue;
            }
            let made = self.one(graph, done, &z)?;
            if step.tells.is_some() {
                let last = done + 1 == self.steps.all.len();
                beliefs.push(self.belief(graph, step, (&z, last), &made));
            }
            z = made.z;
            done += 1;
        }
        Ok(End { z, beliefs })
    }

    /// The noise of draw `index`, [N, K, d].
    fn draw(&self, graph: &mut Graph, index: usize) -> Value {
        let index = graph.integer(index as i64);
        graph.op_with("Gather", &[self.noise, &index], [("axis", Attribute::Int(2))])
    }

    /// Step number `index`, from 0.
    fn one(&self, graph: &mut Graph, index: usize, z: &Value) -> Result<Made> {
        let steps = self.steps.all.get(index..=index).unwrap_or_default();
        let step = steps.first().ok_or(ExportError::Steps)?;
        let mut given = Vec::new();
        for (number, stage) in step.stages.iter().enumerate() {
            let time = self.times(graph, steps, number)?;
            let factors = stage.terms.iter().map(|(_, factor)| graph.number(*factor));
            given.push(Given { time, factors: factors.collect() });
        }
        let noise = step.has_noise().then(|| self.draw(graph, index + 1));
        self.make(graph, step, &given, noise.as_ref(), z)
    }

    /// Steps that are alike, as a loop over their times, factors and noise. Returns the last z.
    fn many(&self, graph: &mut Graph, range: Range<usize>, z: &Value) -> Result<Value> {
        let steps = self.steps.all.get(range.clone()).unwrap_or_default();
        let step = steps.first().ok_or(ExportError::Steps)?;
        let mut rows = Vec::new();
        for (number, stage) in step.stages.iter().enumerate() {
            rows.extend(self.times(graph, steps, number)?.map(|times| (times, 0)));
            for term in 0..stage.terms.len() {
                let factor = |step: &Step| Some(step.stages.get(number)?.terms.get(term)?.1);
                let factors: Vec<f64> = steps.iter().filter_map(factor).collect();
                rows.push((graph.numbers(&[factors.len()], &factors), 0));
            }
        }
        if step.has_noise() {
            let [from, to] = [range.start + 1, range.end + 1].map(|draw| [draw as i64]);
            let (from, to) = (graph.integers(&from), graph.integers(&to));
            let axis = graph.integers(&[2]);
            rows.push((graph.op("Slice", &[self.noise, &from, &to, &axis]), 2));
        }
        graph.scan(z, &rows, |graph, z, slices| {
            let mut slices = slices.iter().cloned();
            let given: Vec<Given> = step
                .stages
                .iter()
                .map(|stage| Given {
                    time: self.is_timed(stage).then(|| slices.next()).flatten(),
                    factors: slices.by_ref().take(stage.terms.len()).collect(),
                })
                .collect();
            Ok(self.make(graph, step, &given, slices.next().as_ref(), z)?.z)
        })
    }

    fn is_timed(&self, stage: &Stage) -> bool {
        self.blocks.get(&stage.block).is_some_and(Block::is_timed)
    }

    /// The rows of the times of stage `number` of `steps`.
    fn times(&self, graph: &mut Graph, steps: &[Step], number: usize) -> Result<Option<Value>> {
        let stages: Vec<&Stage> = steps.iter().filter_map(|step| step.stages.get(number)).collect();
        let times: Vec<f64> = stages.iter().map(|stage| stage.time).collect();
        let block = stages.first().and_then(|stage| self.blocks.get(&stage.block));
        block.ok_or(ExportError::Steps)?.times(graph, &times)
    }

    /// Makes a step with what it is given.
    fn make(
        &self,
        graph: &mut Graph,
        step: &Step,
        given: &[Given],
        noise: Option<&Value>,
        z: &Value,
    ) -> Result<Made> {
        let mut here = z.clone();
        let mut first = None;
        for (stage, given) in step.stages.iter().zip(given) {
            let block = self.blocks.get(&stage.block).ok_or(ExportError::Steps)?;
            let logits = block.logits(graph, &here, given.time.as_ref());
            let said = match self.steps.answer {
                Answer::Embedding => graph.softmax(&logits),
                Answer::Velocity => logits,
            };
            let answer = graph.op("MatMul", &[&said, &self.embeddings.rows]);
            let mut sum: Option<Value> = None;
            for ((term, _), factor) in stage.terms.iter().zip(&given.factors) {
                let value = match term {
                    Term::Start => z,
                    Term::Here => &here,
                    Term::Answer => &answer,
                    Term::Noise => noise.ok_or(ExportError::Steps)?,
                };
                let product = graph.op("Mul", &[value, factor]);
                sum = Some(match &sum {
                    Some(sum) => graph.op("Add", &[sum, &product]),
                    None => product,
                });
            }
            here = sum.ok_or(ExportError::Steps)?;
            first.get_or_insert((said, answer));
        }
        let (said, answer) = first.ok_or(ExportError::Steps)?;
        Ok(Made { z: here, said, answer })
    }

    /// The class probabilities of the block that made a step from `z`, [N, K, classes].
    fn belief(
        &self,
        graph: &mut Graph,
        step: &Step,
        (z, last): (&Value, bool),
        made: &Made,
    ) -> Value {
        match self.steps.answer {
            Answer::Embedding => made.said.clone(),
            // The class whose embedding the velocity leads to; in the last step that of the end of the path.
            Answer::Velocity if last => nearest(graph, self.embeddings, &made.z),
            Answer::Velocity => {
                let left = graph.number(step.left);
                let way = graph.op("Mul", &[&made.answer, &left]);
                let end = graph.op("Add", &[z, &way]);
                nearest(graph, self.embeddings, &end)
            }
        }
    }
}

/// A step that was made.
struct Made {
    z: Value,
    /// Probabilities or logits of the block at the beginning of the step, [N, K, classes].
    said: Value,
    /// Its answer there, [N, K, d].
    answer: Value,
}

/// Returns whether two steps differ in numbers alone, and neither tells what its block believes.
fn is_alike(step: &Step, other: &Step) -> bool {
    let form = |step: &Step| -> Vec<(usize, Vec<Term>)> {
        let terms = |stage: &Stage| stage.terms.iter().map(|(term, _)| *term).collect();
        step.stages.iter().map(|stage| (stage.block, terms(stage))).collect()
    };
    step.tells.is_none() && other.tells.is_none() && form(step) == form(other)
}
