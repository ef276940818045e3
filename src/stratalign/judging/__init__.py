"""Judges: who scores answers, by which protocol. A judge receives texts and does not know who wrote them."""

from stratalign.judging.asking import ModelJudge, model_judges
from stratalign.judging.cost import Estimate, estimate
from stratalign.judging.headway import Headway
from stratalign.judging.keys import api_key
from stratalign.judging.kinship import families, kinship_warning
from stratalign.judging.labels import LabelFiles, read_labels, write_label_template
from stratalign.judging.pairwise import against_base, both_orders, orders_agree
from stratalign.judging.protocol import (
    InvalidReply,
    Item,
    JudgeProtocol,
    Message,
    load_protocol,
    packaged_protocols,
)
from stratalign.judging.rows import score_row
from stratalign.judging.scoring import (
    PROTOCOLS,
    Protocol,
    asks_a_model,
    check_judge,
    compares_with_base,
    describe_judges,
    judged_dimensions,
    protocols,
    score_all,
    score_text,
)
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.text import ANSWER_MEASURES, DEMONSTRATION_MEASURES, PAIR_MEASURES

__all__ = [
    "ANSWER_MEASURES",
    "DEMONSTRATION_MEASURES",
    "PAIR_MEASURES",
    "PROTOCOLS",
    "Estimate",
    "Headway",
    "InvalidReply",
    "Item",
    "JudgeProtocol",
    "JudgeSettings",
    "LabelFiles",
    "Message",
    "ModelJudge",
    "Protocol",
    "against_base",
    "api_key",
    "asks_a_model",
    "both_orders",
    "check_judge",
    "compares_with_base",
    "describe_judges",
    "estimate",
    "families",
    "judged_dimensions",
    "kinship_warning",
    "load_protocol",
    "model_judges",
    "orders_agree",
    "packaged_protocols",
    "protocols",
    "read_labels",
    "score_all",
    "score_row",
    "score_text",
    "write_label_template",
]
