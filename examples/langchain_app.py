"""A LangChain model whose streams are logged by one callback handler.

OPENAI_BASE_URL=http://127.0.0.1:8001/v1 OPENAI_API_KEY=... python examples/langchain_app.py "What is a token?"
"""

import os
import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from streaming_logger import get_streaming_logger
from streaming_logger.integrations.langchain import callback_handler


def main(question: str, session_id: str) -> None:
    model = ChatOpenAI(model=os.environ.get("MODEL", "gpt-5-mini"))
    prompt = ChatPromptTemplate([("system", "Answer briefly."), ("user", "{question}")])
    chain = prompt | model | StrOutputParser()
    config = {"callbacks": [callback_handler()], "metadata": {"session_id": session_id}}
    for text in chain.stream({"question": question}, config):
        print(text, end="", flush=True)
    print(flush=True)  # before the line on stderr
    print(f"logged in {get_streaming_logger().base_dir / session_id}.log", file=sys.stderr)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "What is a token?", "sess_langchain")
