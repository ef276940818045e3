"""The stages of a study: train and prove, generate, score. Each continues where it was interrupted.

A stage reads records, does what is missing and writes records; it redoes nothing that is done. What "done" means
stands at the top of each stage. The report is a stage, too, in a room of its own.
"""

from stratalign.pipeline.stages.generating import generate_stage
from stratalign.pipeline.stages.judging import judge_stage
from stratalign.pipeline.stages.training import train_stage

__all__ = ["generate_stage", "judge_stage", "train_stage"]
