// Generated from openapi.json: `npm run types`. Do not edit.

export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * @description Answer of ``GET /api/experiments/{id}/attention``: attention weights of one layer in the reference run of one
         *     prompt, as [head][query][key].
         */
        AttentionPattern: {
            layer: number;
            tokens: components["schemas"]["Token"][];
            weights: number[][][];
        };
        /**
         * @description Numerical checks made in the same run: a control and a brute-force comparison.
         *
         *     ``noise_floor``: largest |effect| of the unpatched control row, in logits.
         *     ``spot_check``: components recomputed with one hooked forward pass each; ``spot_check_error``: largest
         *     |difference| to the reported effects, in logits.
         */
        Checks: {
            noise_floor: number;
            spot_check: string[];
            spot_check_error: number;
            spot_check_pairs: number;
        };
        /** @description A prompt pair as typed by a user; an omitted counterfactual or answer is computed. */
        CustomPair: {
            /** @description Right answer; if omitted, computed from the prompt, whose arithmetic must then be readable */
            answer?: string | null;
            /** @description Prompt without the calculation; if omitted, made from the prompt by the set's corruption */
            counterfactual?: string | null;
            /** @description Prompt with the calculation, such as "3 + 5 =" */
            reference: string;
        };
        /** @description A prompt set of typed or uploaded pairs. */
        CustomPrompts: {
            /**
             * @description Treatment of answers longer than one token of the model. `whole`: such questions are not drawn; such a prompt of your own is refused. `first`: measured at their first token. `each`: measured at every token, with those before it given.
             * @enum {string}
             */
            answer: "whole" | "first" | "each";
            /**
             * @description Ask as a user's turn through the model's chat template; worked examples become turns
             */
            chat: boolean;
            /**
             * @description Change that turns a prompt into its counterfactual. `null_operator`: a sign without meaning takes its place. `operand_swap`: other operands with another answer. `operand_swap_same_answer`: a control: other operands with the same answer. `operator_swap`: another operation on the same operands.
             * @enum {string}
             */
            corruption: "null_operator" | "operand_swap" | "operand_swap_same_answer" | "operator_swap";
            /**
             * @description Keep prompts that the model answers wrongly; otherwise they are dropped and counted
             */
            keep_wrong: boolean;
            /** @description The prompts */
            pairs: components["schemas"]["CustomPair"][];
            /** @description Solved examples before each question; if omitted, 2 before one-line questions, none before others */
            shots?: number | null;
            /**
             * @description Typed or uploaded prompts (enum property replaced by openapi-typescript)
             * @enum {string}
             */
            source: "custom";
        };
        /** @description A pair left out of the results, and the reason. ``index``: its place in the submitted list, from 0. */
        DroppedPair: {
            answer: string;
            index: number;
            reason: string;
            reference: string;
        };
        /** @description Running time of experiments of one kind on one model, from start to end: moving average over ``n`` of them. */
        Duration: {
            /** @enum {string} */
            kind: "path_patching" | "knockout" | "transfer" | "fine_tune";
            mean_s: number;
            model: string;
            n: number;
        };
        /**
         * @description Mean over pairs, standard deviation (ddof 1) and 95 % interval of every head [layer][head] or MLP [layer].
         *
         *     The interval is a percentile bootstrap over distinct questions, 10 000 draws, seed 0. ``std`` and interval are
         *     None for one pair.
         */
        Effects: {
            ci_high: (number | null)[][];
            ci_low: (number | null)[][];
            mean: (number | null)[][];
            std: (number | null)[][];
        };
        /**
         * @description Evaluation before and after training.
         *
         *     ``held_out``: all test questions. ``sets``: the test questions by operation, digits and style, then other
         *     arithmetic, then controls without arithmetic. ``prompts``: the first held-out questions, at most 500.
         */
        Evaluation: {
            held_out: components["schemas"]["Judged"];
            neutral: components["schemas"]["Neutral"];
            prompts: components["schemas"]["JudgedPrompt"][];
            repatched: components["schemas"]["Repatched"] | null;
            sets: components["schemas"]["Judged"][];
        };
        /**
         * @description Answer of ``GET /api/experiments/{id}``. ``attempt`` counts from 1 and rises each time the experiment is queued
         *     again.
         */
        Experiment: {
            attempt: number;
            cancel_requested: boolean;
            /** Format: date-time */
            created_at: string;
            deleted_at?: string | null;
            error: components["schemas"]["ProblemDetails"] | null;
            finished_at: string | null;
            id: string;
            /** @enum {string} */
            kind: "path_patching" | "knockout" | "transfer" | "fine_tune";
            name: string;
            notes: string;
            parent: string | null;
            /**
             * @enum {string}
             */
            priority: "high" | "normal" | "low";
            progress: components["schemas"]["Progress"];
            spec: components["schemas"]["PathPatchingSpec"] | components["schemas"]["KnockoutSpec"] | components["schemas"]["TransferSpec"] | components["schemas"]["FineTuneSpec"];
            started_at: string | null;
            /** @enum {string} */
            state: "queued" | "running" | "succeeded" | "failed" | "cancelled";
        };
        /**
         * @description Body of ``PATCH /api/experiments/{id}``: name, notes and priority. An omitted field keeps its value; ``""``
         *     clears it.
         */
        ExperimentEdit: {
            name?: string | null;
            notes?: string | null;
            priority?: ("high" | "normal" | "low") | null;
        };
        /** @description One page of experiments, newest first; ``next_cursor`` is None on the last page. */
        ExperimentList: {
            items: components["schemas"]["Experiment"][];
            next_cursor: string | null;
        };
        /** @description A recently failed experiment. */
        Failure: {
            /** Format: date-time */
            at: string;
            detail: string;
            experiment: string;
            title: string;
        };
        /**
         * @description Answer of ``GET /api/experiments/{id}/result`` for a fine-tuning.
         *
         *     ``kept``: the step whose weights are kept. If the training was cancelled or stopped on a non-finite loss
         *     (``problem``), these are the last good ones; a cancelled training is not evaluated. ``tuned``: id of the tuned model
         *     in the catalogue. ``deltas_bytes``: size of its stored weight changes. ``seconds_per_step``: median.
         */
        FineTuneResult: {
            complete: boolean;
            curve: components["schemas"]["TrainingCurve"];
            deltas_bytes: number;
            deltas_sha256: string;
            /** @enum {string} */
            ended: "finished" | "stopped" | "not_finite";
            evaluation: components["schemas"]["Evaluation"] | null;
            experiment_id: string;
            kept: number;
            /**
             * @constant
             */
            kind: "fine_tune";
            model: components["schemas"]["ModelFacts"];
            notes: string[];
            problem: string | null;
            provenance: components["schemas"]["Provenance"];
            /**
             * @constant
             */
            schema_version: 1;
            seconds_per_step: number | null;
            spec: components["schemas"]["FineTuneSpec"];
            split: components["schemas"]["Split"];
            tunable: components["schemas"]["Tunable"];
            tuned: string | null;
        };
        /**
         * @description Fine-tuning: trains the chosen components alone (or the parameters that ``tuner`` selects) on ``prompts``.
         *
         *     The questions of ``prompts`` are split by their operands into three sets that share none: training, ``validation``
         *     (during training) and ``test`` (before and after it). A given ``validation`` or ``test`` set replaces that part, and
         *     must not share operands with the others. Settings in detail: docs/methods/fine_tune.md.
         */
        FineTuneSpec: {
            /**
             * @description Parts into which a batch is split to save memory
             */
            accumulate: number;
            /**
             * @description Questions per optimiser step
             */
            batch_size: number;
            /**
             * @description Train the components' biases, too
             */
            biases: boolean;
            /**
             * @description Recompute activations in the backward pass: less memory, more time
             */
            checkpointing: boolean;
            /**
             * @description Largest norm of a step's gradient; none for no clipping
             */
            clip: number | null;
            /**
             * @description Components to train; needed unless whole models are trained
             */
            components: string[];
            /**
             * @description Multiply the heads' learning rate by H/h, as in the paper: all heads / chosen heads
             */
            head_scale: boolean;
            /**
             * @description Kind of experiment (enum property replaced by openapi-typescript)
             * @enum {string}
             */
            kind: "fine_tune";
            /**
             * @description Peak learning rate, after the warm-up
             */
            learning_rate: number;
            /** @description Id of the model, as in the list of models */
            model: string;
            /** @description The analysis that found the components, if any */
            parent?: string | null;
            /**
             * @description Questions, split by operands into three sets; if omitted, sums and differences of two digits
             */
            prompts: components["schemas"]["CustomPrompts"] | components["schemas"]["TemplatePrompts"];
            /**
             * @description Course of the learning rate after the warm-up. `cosine`: falls to 0 along a cosine. `linear`: falls to 0 along a straight line. `constant`: stays at its peak.
             * @enum {string}
             */
            schedule: "cosine" | "linear" | "constant";
            /**
             * @description Seed of the order of questions and of random draws
             */
            seed: number;
            /**
             * @description Optimiser steps
             */
            steps: number;
            /** @description Questions for the final test; split off if omitted */
            test?: (components["schemas"]["CustomPrompts"] | components["schemas"]["TemplatePrompts"]) | null;
            /** @description If omitted, query and output under grouped-query attention, otherwise all four */
            tune?: ("q" | "k" | "v" | "o")[] | null;
            /**
             * @description Parameters that training changes; all others stay. `precise`: only the chosen components. `random`: as many other components, drawn at random from the same layers. `offsets`: one trained vector added to the output of each chosen head. `lora`: low-rank adapters on all weight matrices, with about as many parameters as the chosen components. `full_matrices`: all weight matrices of all layers. `full`: every parameter of the model.
             * @enum {string}
             */
            tuner: "precise" | "random" | "offsets" | "lora" | "full_matrices" | "full";
            /**
             * @description Optimiser steps from one validation to the next
             */
            validate_every: number;
            /** @description Questions for validation; split off if omitted */
            validation?: (components["schemas"]["CustomPrompts"] | components["schemas"]["TemplatePrompts"]) | null;
            /**
             * @description Share of the steps over which the learning rate rises
             */
            warmup: number;
            /**
             * @description Weight decay of AdamW
             */
            weight_decay: number;
        };
        /** @description One head's attention from END by role, averaged over the prompts; each row sums to 1 (``difference`` to 0). */
        HeadRoles: {
            baseline: number[];
            ci_high: (number | null)[];
            ci_low: (number | null)[];
            component: string;
            difference: number[];
            /** @enum {string} */
            head_class: "operand" | "operator" | "neither";
            mass: number[];
        };
        /** @description Answer of ``GET /api/health``. */
        Health: {
            /** @enum {string} */
            broker: "ok" | "down";
            running: number;
            /** @enum {string} */
            status: "ok" | "degraded";
            /** @enum {string} */
            store: "ok" | "down";
            version: string;
            waiting: number;
            workers: components["schemas"]["WorkerStatus"][];
        };
        /**
         * @description A mean with its 95 % percentile bootstrap interval over distinct questions (10 000 draws, seed 0); no interval
         *     for a single question.
         */
        Interval: {
            high: number | null;
            low: number | null;
            mean: number;
        };
        /**
         * @description Accuracy on one question set before and after training.
         *
         *     An answer is right if each of its tokens is the model's top token, given the answer's tokens before it. ``change``:
         *     after - before, with its interval over the same questions. ``fixed``: wrong before, right after; ``broken``: right
         *     before, wrong after; ``right`` and ``wrong``: both times. ``log_probability``: of the whole answer, mean over
         *     questions, in nats. ``divergence``: KL(before || after) at the answer's first token, mean over questions, in nats.
         */
        Judged: {
            after: components["schemas"]["Interval"];
            before: components["schemas"]["Interval"];
            broken: number;
            change: components["schemas"]["Interval"];
            divergence: number;
            fixed: number;
            /** @enum {string} */
            group: "held_out" | "arithmetic" | "control";
            log_probability_after: number;
            log_probability_before: number;
            n: number;
            name: string;
            right: number;
            wrong: number;
        };
        /**
         * @description One held-out question with the model's answers before and after training, each cut after its first wrong
         *     token.
         */
        JudgedPrompt: {
            after: string;
            answer: string;
            before: string;
            /** @enum {string} */
            outcome: "fixed" | "broken" | "right" | "wrong";
            reference: string;
        };
        /** @description Answer of ``GET /api/experiments/{id}/key``: key components by metric, with their statistics. */
        KeyReport: {
            tables: components["schemas"]["KeyTable"][];
        };
        /**
         * @description One component: its mean effect, the p-value of a mean of 0 (two-sided studentised bootstrap over distinct
         *     questions), and the smallest false discovery rate at which it passes (q-value). Both are None below ten
         *     questions.
         */
        KeyRow: {
            component: string;
            mean: number | null;
            p_value: number | null;
            q_value: number | null;
        };
        /**
         * @description Key components by one metric: every component, the most negative mean first.
         *
         *     ``false_discovery``: components with a negative mean that pass at a false discovery rate of 5 %. ``threshold``:
         *     components below ``threshold_at`` (the paper's -5 % of the reference logit; None for other metrics). ``heads``:
         *     number of heads of the model, the base of percentages.
         */
        KeyTable: {
            false_discovery: string[] | null;
            heads: number;
            /** @enum {string} */
            metric: "logit" | "relative_logit" | "logit_difference" | "probability";
            questions: number;
            rows: components["schemas"]["KeyRow"][];
            threshold: string[] | null;
            threshold_at: number | null;
            unit: string;
        };
        /**
         * @description Numerical checks of a knockout, in logits.
         *
         *     ``noise_floor``: largest |logit with nothing knocked out - logit of the plain run|. ``spot_check_error``: largest
         *     |difference| to one hooked forward pass per pair, over ``spot_check_points`` points of the curve on
         *     ``spot_check_pairs`` pairs.
         */
        KnockChecks: {
            noise_floor: number;
            spot_check_error: number;
            spot_check_pairs: number;
            spot_check_points: number;
        };
        /**
         * @description Mean of a metric over the pairs with the first k = 0, 1, ... components knocked out.
         *
         *     ``ci``: 95 % percentile bootstrap over distinct questions. ``control``: mean over the random draws, with the 95 %
         *     bootstrap interval of that mean. ``draws``: the range that holds 95 % of the draws. ``p_value``: (1 + draws that
         *     hurt at least as much) / (1 + draws). A cell is None where no number exists (no draws, one question).
         */
        KnockCurve: {
            ci_high: (number | null)[];
            ci_low: (number | null)[];
            control: (number | null)[];
            control_high: (number | null)[];
            control_low: (number | null)[];
            draws_high: (number | null)[];
            draws_low: (number | null)[];
            mean: (number | null)[];
            p_value: (number | null)[];
            unit: string;
        };
        /**
         * @description Answer of ``GET /api/experiments/{id}/result`` for a knockout.
         *
         *     ``shared_questions``: how many of the ``n_pairs`` pairs have operands that the analysis used, too. ``elbow``: number
         *     of components after which most of the fall in accuracy has happened: the point furthest below the line from the
         *     first to the last point or, if less than half of the fall has happened there, the first point with half of it; None
         *     if the last point is not below the first. ``unmatched``: random components drawn from another layer, or from the
         *     chosen components themselves, because no others were left.
         */
        KnockoutResult: {
            checks: components["schemas"]["KnockChecks"];
            complete: boolean;
            components: string[];
            controls: string[][];
            curves: {
                [key: string]: components["schemas"]["KnockCurve"];
            };
            dropped: components["schemas"]["DroppedPair"][];
            elbow: number | null;
            experiment_id: string;
            /**
             * @constant
             */
            kind: "knockout";
            model: components["schemas"]["ModelFacts"];
            n_asked: number;
            n_distinct: number;
            n_pairs: number;
            notes: string[];
            parent: string;
            provenance: components["schemas"]["Provenance"];
            /**
             * @constant
             */
            schema_version: 1;
            shared_questions: number;
            spec: components["schemas"]["KnockoutSpec"];
            unmatched: number;
        };
        /**
         * @description Knockout: the model's answers with 0, 1, 2, ... components of an analysis removed, against random controls.
         *
         *     Removes ``components`` in this order, or the ``top_k`` (default 10) with the most negative mean effect.
         */
        KnockoutSpec: {
            /**
             * @description Replacement of a removed component's output. `mean`: its mean output over the prompts. `zero`: zero, a state that the model has never seen. `resample`: its output on another prompt of the set, drawn at random.
             * @enum {string}
             */
            ablation: "mean" | "zero" | "resample";
            /**
             * @description Components that top k ranks. `head`: only attention heads. `any`: attention heads and MLPs in one ranking.
             * @enum {string}
             */
            among: "head" | "any";
            /** @description Generate up to this many tokens and score whole answers, too (exact match) */
            answer_tokens?: number | null;
            /** @description Components to remove, in this order */
            components?: string[] | null;
            /**
             * @description Random sets of as many components of the same layers, removed for comparison
             */
            controls: number;
            /**
             * @description Leave out questions with operands that the analysis used
             */
            disjoint: boolean;
            /**
             * @description Kind of experiment (enum property replaced by openapi-typescript)
             * @enum {string}
             */
            kind: "knockout";
            /**
             * @description Metric that ranks the components for top k. `logit`: change of the answer's logit. `relative_logit`: change of the answer's logit, in percent of its size in the reference run. `logit_difference`: change of the difference between the answer's logit and that of the best other number. `probability`: change of the answer's probability; slower, because it needs every logit.
             * @enum {string}
             */
            metric: "logit" | "relative_logit" | "logit_difference" | "probability";
            /** @description The analysis (path patching) that ranks the components */
            parent: string;
            /**
             * @description Positions at which outputs are replaced. `end`: where the answer is read. `all`: every token of the prompt. `after_first`: every token but the first, where idle attention rests.
             * @enum {string}
             */
            positions: "end" | "all" | "after_first";
            /** @description Prompts to measure on; those of the analysis if omitted */
            prompts?: (components["schemas"]["CustomPrompts"] | components["schemas"]["TemplatePrompts"]) | null;
            /**
             * @description Seed of the random controls and of the replacement with another prompt
             */
            seed: number;
            /** @description Remove the k components with the most negative mean effect; 10 if none are named */
            top_k?: number | null;
        };
        /**
         * @description Logit lens after one layer: the residual stream at END through the final norm and the unembedding. ``layer`` -1
         *     is the embedding. ``logit``, ``probability`` and ``rank`` are the answer's.
         */
        LensLayer: {
            layer: number;
            logit: number;
            probability: number;
            rank: number;
            top: components["schemas"]["LensToken"][];
        };
        /** @description Answer of ``GET /api/experiments/{id}/lens?prompt=``: the logit lens at END by layer, the embedding first. */
        LensReport: {
            answer: string;
            layers: components["schemas"]["LensLayer"][];
            prompt: number;
        };
        /** @description A token and its probability under the logit lens. */
        LensToken: {
            probability: number;
            token: string;
        };
        /**
         * @description Effects in one metric: heads as [layer][head], MLPs as [layer][one cell]. ``left_out`` counts pairs without a
         *     defined value.
         */
        MetricResult: {
            heads: components["schemas"]["Effects"];
            left_out: number;
            mlps: components["schemas"]["Effects"];
            n_pairs: number;
            unit: string;
        };
        /** @description A model: one item of ``GET /api/models``. */
        ModelCard: {
            /**
             * @description Treatment of answers of several tokens, unless a request sets its own. `whole`: such questions are not drawn; such a prompt of your own is refused. `first`: measured at their first token. `each`: measured at every token, with those before it given.
             * @enum {string}
             */
            answer: "whole" | "first" | "each";
            /** @description Id of the model that this one was tuned from */
            base?: string | null;
            /** @description Revision of the base model at that time */
            base_revision?: string | null;
            /**
             * @description The model comes with a chat template
             */
            chat: boolean;
            /** @description Id of the fine-tuning that made this model */
            experiment?: string | null;
            /** @description Query heads per layer */
            heads: number;
            id: string;
            /** @description Key/value heads per layer */
            kv_heads: number;
            layers: number;
            name: string;
            parameters: number;
            /** @description Why the model is not supported */
            reason?: string | null;
            /** @description SHA-256 of the file of the weights (or of their manifest); of a tuned model, that of its deltas */
            revision: string;
            /** @description Solved examples before a question, unless a request sets its own number */
            shots: number;
            /** @description None if unknown */
            sizes?: components["schemas"]["PartSizes"] | null;
            /** @enum {string} */
            source: "demo" | "bundled" | "folder" | "hub" | "tuned";
            supported: boolean;
        };
        /** @description The model that was analysed. */
        ModelFacts: {
            architecture: string;
            heads: number;
            id: string;
            kv_heads: number;
            layers: number;
            name: string;
            parameters: number;
            revision: string;
        };
        /**
         * @description Plain text without arithmetic, written for this control.
         *
         *     ``before`` and ``after``: perplexity; ``ratio``: after / before. ``divergence``: KL(before || after) of the next
         *     token, mean over tokens, in nats. Intervals are over passages.
         */
        Neutral: {
            after: components["schemas"]["Interval"];
            before: components["schemas"]["Interval"];
            divergence: components["schemas"]["Interval"];
            passages: number;
            ratio: components["schemas"]["Interval"];
            tokens: number;
        };
        /**
         * @description One kept pair: its prompts and the model's answers. Logits are raw, in the model's own scale.
         *
         *     ``competitor``: the best other number token of the reference run, fixed for the logit difference. ``top``: the top
         *     token of the reference run.
         */
        PairResult: {
            answer: string;
            answer_id: number;
            competitor: string;
            competitor_id: number;
            correct: boolean;
            counterfactual: components["schemas"]["Token"][];
            counterfactual_logit: number;
            index: number;
            reference: components["schemas"]["Token"][];
            reference_logit: number;
            reference_probability: number;
            top: string;
        };
        /**
         * @description Number of parameters of each part that can be tuned.
         *
         *     ``q`` and ``o``: the query and output slice of one head. ``k`` and ``v``: one key or value slice, which heads may
         *     share. ``mlp``: the MLP of one layer. ``..._bias``: the same parts' biases. ``head_dim``: size of a head's output
         *     before the output projection.
         */
        PartSizes: {
            head_dim: number;
            k: number;
            k_bias: number;
            mlp: number;
            mlp_bias: number;
            /**
             * @description A norm covers the queries of all heads, so that tuning one head changes all of them
             */
            normed_together: boolean;
            o: number;
            q: number;
            q_bias: number;
            v: number;
            v_bias: number;
        };
        /** @description Data of the SSE event ``partial``. */
        Partial: {
            metrics: {
                [key: string]: components["schemas"]["PartialMetric"];
            };
            n_pairs: number;
        };
        /** @description Running means over the finished pairs: heads [layer][head], MLPs [layer]. */
        PartialMetric: {
            heads: (number | null)[][];
            mlps: (number | null)[];
        };
        /**
         * @description Answer of ``GET /api/experiments/{id}/result`` for path patching.
         *
         *     ``complete`` is false if a cancellation cut the set short. ``spec`` holds effect, positions, source and direction.
         *     Effects are patched - reference; with direction ``denoising``, which puts the reference's activations into the
         *     counterfactual run, they are patched - counterfactual.
         */
        PathPatchingResult: {
            attention_pairs: number[];
            checks: components["schemas"]["Checks"];
            complete: boolean;
            dropped: components["schemas"]["DroppedPair"][];
            /** @enum {string} */
            effect: "direct" | "through_mlps" | "total";
            experiment_id: string;
            /**
             * @constant
             */
            kind: "path_patching";
            metrics: {
                [key: string]: components["schemas"]["MetricResult"];
            };
            model: components["schemas"]["ModelFacts"];
            n_asked: number;
            n_correct: number;
            n_distinct: number;
            notes: string[];
            pairs: components["schemas"]["PairResult"][];
            provenance: components["schemas"]["Provenance"];
            /**
             * @constant
             */
            schema_version: 1;
            spec: components["schemas"]["PathPatchingSpec"];
        };
        /** @description Path patching: the exact effect of every head and MLP on the answer. */
        PathPatchingSpec: {
            /**
             * @description Corrupt a component in the reference run, or restore it in the counterfactual run. `noising`: corrupt the component in the reference run. `denoising`: restore the component in the counterfactual run.
             * @enum {string}
             */
            direction: "noising" | "denoising";
            /**
             * @description Paths from a component to the output that count. `direct`: its direct path to the output; everything after it is frozen. `through_mlps`: its direct path and those through later MLPs; later heads are frozen. `total`: every path, through later heads, too; the slowest.
             * @enum {string}
             */
            effect: "direct" | "through_mlps" | "total";
            /**
             * @description Kind of experiment (enum property replaced by openapi-typescript)
             * @enum {string}
             */
            kind: "path_patching";
            /**
             * @description Measures of the effect on the answer. `logit`: change of the answer's logit. `relative_logit`: change of the answer's logit, in percent of its size in the reference run. `logit_difference`: change of the difference between the answer's logit and that of the best other number. `probability`: change of the answer's probability; slower, because it needs every logit.
             */
            metrics: ("logit" | "relative_logit" | "logit_difference" | "probability")[];
            /** @description Id of the model, as in the list of models */
            model: string;
            /**
             * @description Positions at which a component's output is replaced. `end`: where the answer is read. `all`: every token of the prompt.
             * @enum {string}
             */
            positions: "end" | "all";
            /** @description Prompts to analyse: typed or uploaded, or drawn from templates */
            prompts: components["schemas"]["CustomPrompts"] | components["schemas"]["TemplatePrompts"];
            /**
             * @description Replacement of a component's output. `counterfactual`: its output on the same prompt without the calculation. `zero`: its output is set to zero. `mean`: its mean output over the set. `resample`: its output on a prompt drawn at random from the set.
             * @enum {string}
             */
            source: "counterfactual" | "zero" | "mean" | "resample";
        };
        /**
         * @description Batch sizes that kept the run within memory; the smallest ones if an out-of-memory error reduced them.
         *
         *     ``pairs`` and ``components``: processed at once in the wave. ``rows``: in one matrix product. ``pass_tokens``: in
         *     one plain forward pass. ``budget_bytes``: memory available besides the model. None if the method does not split the
         *     work that way.
         */
        Plan: {
            budget_bytes?: number | null;
            components?: number | null;
            pairs: number;
            pass_tokens?: number | null;
            rows?: number | null;
        };
        /**
         * @description A prompt set as a model's tokenizer reads it.
         *
         *     ``items`` holds at most the first 64 pairs; ``n_distinct`` counts all questions of the set.
         */
        Preview: {
            items: components["schemas"]["PreviewItem"][];
            n_distinct: number;
            notes: string[];
            /**
             * @description Worked examples before each question
             */
            shots: number;
        };
        /** @description Tokens and answer of one pair. A pair with a ``problem`` cannot run; the readable part is still shown. */
        PreviewItem: {
            answer: string | null;
            /** @description Id of the answer token that is measured */
            answer_id: number | null;
            counterfactual: components["schemas"]["Token"][];
            /**
             * @description Place of the measured token among the answer's tokens, from 0
             */
            place: number;
            /**
             * @description Number of the answer's tokens
             */
            places: number;
            problem: string | null;
            reference: components["schemas"]["Token"][];
        };
        /** @description RFC 9457 problem JSON, with the way out. */
        ProblemDetails: {
            detail: string;
            status: number;
            title: string;
            type: string;
            way_out: string;
        };
        /**
         * @description Progress of an experiment: ``done`` of ``total`` pairs and, within them, layer ``layer`` of ``layers``.
         *
         *     A transfer counts prompt sets instead of pairs; a fine-tuning counts steps, and questions in the evaluations before
         *     and after them.
         */
        Progress: {
            done: number;
            /** @description Estimated time left, in seconds */
            eta_s?: number | null;
            layer?: number | null;
            layers?: number | null;
            /** @description Place in the queue, from 0, while it waits */
            queue_position?: number | null;
            /**
             * @enum {string}
             */
            stage: "queued" | "loading_model" | "pairs" | "sets" | "before" | "steps" | "after" | "saving" | "done";
            total?: number | null;
        };
        /** @description Everything needed to reproduce the numbers. Results of early versions have no ``plan``. */
        Provenance: {
            chunk_pairs: number;
            code_version: string;
            /** Format: date-time */
            created_at: string;
            device: string;
            dtype: string;
            method_version: number;
            plan?: components["schemas"]["Plan"] | null;
            prompt_set_hash: string;
            seconds: number;
            torch: string;
            transformers: string;
        };
        /**
         * @description Numbers of waiting and running experiments. ``oldest_wait_s``: how long the oldest of the waiting ones has been
         *     queued, in seconds.
         */
        QueueReport: {
            oldest_wait_s: number | null;
            running: number;
            waiting: number;
        };
        /**
         * @description Path patching of the same pairs before and after training: effects on the logit difference, in logits, wrongly
         *     answered pairs included. ``difference``: after - before, pair by pair.
         */
        Repatched: {
            after: components["schemas"]["MetricResult"];
            before: components["schemas"]["MetricResult"];
            difference: components["schemas"]["MetricResult"];
            effect: string;
            n_pairs: number;
        };
        /**
         * @description Answer of ``GET /api/experiments/{id}/roles``: every head's attention from END by role. Columns follow ``roles``.
         *
         *     ``average_head``: mean over all heads. ``difference``: reference run - counterfactual run. ``baseline``: the mass
         *     expected if roles were shuffled among the tokens, the first token apart. An operand or operator head has at least
         *     ``times`` the mass of both the baseline and the average head.
         */
        RoleReport: {
            average_head: number[];
            heads: components["schemas"]["HeadRoles"][];
            prompts: number;
            roles: ("first" | "shot" | "operand_a" | "operator" | "operand_b" | "equals" | "other")[];
            times: number;
        };
        /**
         * @description Number of pairs in each of the three sets. ``shared``: operands that occur in two of them; a run needs 0.
         *     ``examples``: one question of each set.
         */
        Split: {
            examples: string[];
            shared: number;
            test: number;
            train: number;
            validation: number;
        };
        /**
         * @description Answer of ``GET /api/experiments/{id}/stages``: the emergence of the answer by layer, averaged over the prompts.
         *
         *     ``probability`` and ``rank`` (median): of the answer, after the embedding and each layer. ``operands``: cosine of
         *     each MLP's input with the unembedding rows of the operands; ``answer``: cosine of its output with that of the
         *     answer; ``..._other``: the same for other numbers. ``start``, ``inflection`` and ``end``: layers by the rule in
         *     docs/methods/lens.md, None if the curves do not show them, with 95 % intervals over bootstrap draws of the
         *     questions. ``found``: share of the draws in which the rule finds them.
         */
        StagesReport: {
            answer: (number | null)[];
            answer_other: (number | null)[];
            end: number | null;
            end_interval: [
                number,
                number
            ] | null;
            found: number;
            inflection: number | null;
            inflection_interval: [
                number,
                number
            ] | null;
            operands: (number | null)[];
            operands_other: (number | null)[];
            probability: (number | null)[];
            prompts: number;
            rank: (number | null)[];
            start: number | null;
            start_interval: [
                number,
                number
            ] | null;
        };
        /** @description Data of the SSE event ``state``, always the last event of its stream. */
        StateChange: {
            /** @enum {string} */
            state: "queued" | "running" | "succeeded" | "failed" | "cancelled";
        };
        /**
         * @description Contents of the store; sizes in bytes. ``budget_bytes`` (disk quota) and ``free_bytes`` (of the disk) are None if
         *     unknown.
         */
        StoreReport: {
            artifact_bytes: number;
            budget_bytes: number | null;
            deleted: number;
            experiments: {
                [key: string]: number;
            };
            free_bytes: number | null;
        };
        /** @description Answer of ``GET /api/system``: the System page. ``quota``: limit on unfinished experiments per token. */
        SystemReport: {
            /** @enum {string} */
            broker: "ok" | "down";
            durations: components["schemas"]["Duration"][];
            failures: components["schemas"]["Failure"][];
            live_readers: number;
            queue: components["schemas"]["QueueReport"];
            quota: number;
            /** Format: date-time */
            started_at: string;
            store: components["schemas"]["StoreReport"];
            version: string;
            workers: components["schemas"]["WorkerReport"][];
        };
        /** @description A prompt set drawn from templates, without replacement. docs/prompts.md lists the options of each ``topic``. */
        TemplatePrompts: {
            /**
             * @description Treatment of answers longer than one token of the model. `whole`: such questions are not drawn; such a prompt of your own is refused. `first`: measured at their first token. `each`: measured at every token, with those before it given.
             * @enum {string}
             */
            answer: "whole" | "first" | "each";
            /**
             * @description Ask as a user's turn through the model's chat template; worked examples become turns
             */
            chat: boolean;
            /**
             * @description Change that turns a prompt into its counterfactual. `null_operator`: a sign without meaning takes its place. `operand_swap`: other operands with another answer. `operand_swap_same_answer`: a control: other operands with the same answer. `operator_swap`: another operation on the same operands.
             * @enum {string}
             */
            corruption: "null_operator" | "operand_swap" | "operand_swap_same_answer" | "operator_swap";
            /**
             * @description Decimal places of the operands
             */
            decimals: number;
            /** @description Only questions with operands in one half of a fixed split; the halves share no operands. `first`: one half of all operands, for finding components. `second`: the other half, for testing them. */
            half?: ("first" | "second") | null;
            /**
             * @description Keep prompts that the model answers wrongly; otherwise they are dropped and counted
             */
            keep_wrong: boolean;
            /**
             * @description Numbers in digits or in words. `digits`: numbers as digits. `words`: numbers as words.
             * @enum {string}
             */
            numerals: "digits" | "words";
            /**
             * @description Smallest and largest operand
             */
            operands: [
                number,
                number
            ];
            /**
             * @description Operations of the questions. `add`: sums. `subtract`: differences. `multiply`: products. `divide`: quotients without a remainder. `power`: a base and an exponent of at most 12.
             */
            operations: ("add" | "subtract" | "multiply" | "divide" | "power")[];
            /**
             * @description Questions drawn; fewer if fewer exist
             */
            pairs: number;
            /**
             * @description Another seed draws other questions of the same kind
             */
            seed: number;
            /**
             * @description Solved examples before each question; small models need them to answer at all
             */
            shots: number;
            /**
             * @description Prompts drawn from templates (enum property replaced by openapi-typescript)
             * @enum {string}
             */
            source: "template";
            /**
             * @description Forms of the questions. `equation`: in symbols. `statement`: a sentence that ends before the answer. `question`: a question and the beginning of an answer.
             */
            styles: ("equation" | "statement" | "question")[];
            /**
             * @description Subject of the questions; the last four contain no arithmetic. `question`: plain calculations. `year_span`: the end or the start of a span. `counting`: two groups counted together. `word_problem`: a calculation told as a story. `facts`: a control without arithmetic. `grammar`: a control without arithmetic. `antonyms`: a control without arithmetic. `sequences`: a control without arithmetic.
             * @enum {string}
             */
            topic: "question" | "year_span" | "counting" | "word_problem" | "facts" | "grammar" | "antonyms" | "sequences";
            /**
             * @description A few common wordings of a question, or all of them. `plain`: a few common wordings. `varied`: all wordings, at least twelve per operation and style.
             * @enum {string}
             */
            wording: "plain" | "varied";
        };
        /** @description One token of a prompt: its text as displayed, its id, and its role in the question. */
        Token: {
            id: number;
            /** @enum {string} */
            role: "first" | "shot" | "operand_a" | "operator" | "operand_b" | "equals" | "other";
            text: string;
        };
        /**
         * @description Training loss by step, in nats per answer token, mean over the step's batch.
         *
         *     ``steps`` count from 1: at most 500, evenly spread, the first and the last included. Also the data of the SSE event
         *     ``training``.
         */
        TrainingCurve: {
            losses: number[];
            steps: number[];
            validation: components["schemas"]["Validation"][];
        };
        /**
         * @description One metric as [found][evaluated].
         *
         *     ``value``: with the selected components knocked out; ``ci``: its 95 % bootstrap interval over questions.
         *     ``control``: with random components knocked out, mean over the draws; ``draws``: the range that holds 95 % of them.
         *     ``plain``: with nothing knocked out, by evaluated set.
         */
        TransferMatrix: {
            ci_high: (number | null)[][];
            ci_low: (number | null)[][];
            control: (number | null)[][];
            draws_high: (number | null)[][];
            draws_low: (number | null)[][];
            plain: (number | null)[];
            unit: string;
            value: (number | null)[][];
        };
        /**
         * @description Answer of ``GET /api/experiments/{id}/result`` for a transfer.
         *
         *     ``selections``: the components found on each set of ``found_on``, most negative effect first. ``jaccard``
         *     (similarity of the selections) and ``rank_correlation`` (Spearman, of all components' mean effects) are
         *     [found][found].
         */
        TransferResult: {
            accuracy: components["schemas"]["TransferMatrix"];
            complete: boolean;
            evaluated_on: components["schemas"]["TransferSet"][];
            experiment_id: string;
            found_on: components["schemas"]["TransferSet"][];
            jaccard: (number | null)[][];
            /**
             * @constant
             */
            kind: "transfer";
            model: components["schemas"]["ModelFacts"];
            notes: string[];
            probability: components["schemas"]["TransferMatrix"];
            provenance: components["schemas"]["Provenance"];
            rank_correlation: (number | null)[][];
            /**
             * @constant
             */
            schema_version: 1;
            selections: string[][];
            spec: components["schemas"]["TransferSpec"];
        };
        /** @description One prompt set of a transfer: name and number of pairs. A control contains no arithmetic. */
        TransferSet: {
            is_control: boolean;
            name: string;
            pairs: number;
        };
        /** @description Transfer: heads found on each prompt set, knocked out on every other set. */
        TransferSpec: {
            /**
             * @description Replacement of a removed head's output. `mean`: its mean output over the prompts. `zero`: zero, a state that the model has never seen. `resample`: its output on another prompt of the set, drawn at random.
             * @enum {string}
             */
            ablation: "mean" | "zero" | "resample";
            /**
             * @description Random sets of as many heads of the same layers, removed for comparison
             */
            controls: number;
            /**
             * @description Split every set by its operands: heads are found on one half and knocked out on the other
             */
            disjoint: boolean;
            /**
             * @description Paths from a head to the output that count. `direct`: its direct path to the output; everything after it is frozen. `through_mlps`: its direct path and those through later MLPs; later heads are frozen. `total`: every path, through later heads, too; the slowest.
             * @enum {string}
             */
            effect: "direct" | "through_mlps" | "total";
            /**
             * @description Prompt sets on which the heads of each set are knocked out
             */
            evaluated_on: (components["schemas"]["CustomPrompts"] | components["schemas"]["TemplatePrompts"])[];
            /**
             * @description Prompt sets on which heads are found
             */
            found_on: (components["schemas"]["CustomPrompts"] | components["schemas"]["TemplatePrompts"])[];
            /**
             * @description Kind of experiment (enum property replaced by openapi-typescript)
             * @enum {string}
             */
            kind: "transfer";
            /**
             * @description Metric that ranks the heads. `logit`: change of the answer's logit. `relative_logit`: change of the answer's logit, in percent of its size in the reference run. `logit_difference`: change of the difference between the answer's logit and that of the best other number. `probability`: change of the answer's probability; slower, because it needs every logit.
             * @enum {string}
             */
            metric: "logit" | "relative_logit" | "logit_difference" | "probability";
            /** @description Id of the model, as in the list of models */
            model: string;
            /** @description The analysis that this belongs to, if any */
            parent?: string | null;
            /**
             * @description Seed of the random controls and of the replacement with another prompt
             */
            seed: number;
            /**
             * @description Heads kept of each set: the k with the most negative mean effect
             */
            top_k: number;
        };
        /**
         * @description Parameters trained.
         *
         *     ``components``: the randomly drawn ones if the tuner is ``random``. ``touched``: heads that were not chosen but
         *     share parameters with chosen ones, and so change, too. ``trained``: number of trained parameters, ``share``: their
         *     share of the model's ``parameters``. ``lowest``: the first layer that trains. ``optimiser_bytes``: memory of the
         *     optimiser, two moments per parameter.
         */
        Tunable: {
            components: string[];
            lowest: number;
            optimiser_bytes: number;
            parameters: number;
            share: number;
            touched: string[];
            trained: number;
            tune: ("q" | "k" | "v" | "o")[];
        };
        /**
         * @description Answer of ``POST /api/tuning/preview``: the parameters and questions of a fine-tuning; runs no model.
         *
         *     With the tuner ``random``, ``components`` are the chosen ones, for which the run draws substitutes. With ``lora``,
         *     ``trained`` is the number of parameters that the rank is chosen to match.
         */
        TuningPreview: {
            notes: string[];
            split: components["schemas"]["Split"];
            tunable: components["schemas"]["Tunable"];
        };
        /**
         * @description Answer of ``POST /api/prompts/upload``: the usable pairs in file order, at most 10 000, and the unusable rows.
         *
         *     If rows beyond the limit are left out, the last of the ``problems`` names the first of them and their number, and
         *     so does a note. ``n_rows`` counts all rows except empty ones and the header.
         */
        Upload: {
            n_rows: number;
            notes: string[];
            pairs: components["schemas"]["CustomPair"][];
            problems: components["schemas"]["UploadProblem"][];
        };
        /** @description An unusable row of an uploaded file. Rows count from 1, including the header of a CSV. */
        UploadProblem: {
            reason: string;
            row: number;
        };
        /**
         * @description Validation after ``step`` steps. ``accuracy``: share of right whole answers; ``loss``: mean over the answers'
         *     tokens, in nats.
         */
        Validation: {
            accuracy: number;
            loss: number;
            step: number;
        };
        /** @description A worker on the System page: its current experiment, and the seconds since its last heartbeat (``seen_s``). */
        WorkerReport: {
            busy: boolean;
            device: string;
            experiment: string | null;
            id: string;
            models: string[];
            seen_s: number;
        };
        /** @description A live worker: its device, the models in its memory, and whether it is busy. */
        WorkerStatus: {
            busy: boolean;
            device: string;
            id: string;
            models: string[];
        };
        /** @description A number token and the logit that a component's output gives it. */
        WriteToken: {
            logit: number;
            token: string;
        };
        /**
         * @description Answer of ``GET /api/experiments/{id}/writes?component=``: a component's output at END as logits of number
         *     tokens, averaged over the prompts: the most promoted and most suppressed tokens, and the mean of the answer's.
         */
        WritesReport: {
            answer: number;
            component: string;
            promoted: components["schemas"]["WriteToken"][];
            prompts: number;
            suppressed: components["schemas"]["WriteToken"][];
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
