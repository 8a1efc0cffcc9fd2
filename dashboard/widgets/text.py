"""What every page says about the labels and the law."""

DISCLAIMER = "Labels describe how a face looks to a model trained on seven categories, not what a person feels."
NOTICE = (
    "**Before you use this on people.** Reading emotions from faces is regulated: in the European Union the AI Act "
    "(Regulation (EU) 2024/1689, Article 5) forbids it at work and in education, save for medical or safety reasons, "
    "and Article 50 asks you to tell the people concerned. You answer for consent and for what is concluded from it."
)
