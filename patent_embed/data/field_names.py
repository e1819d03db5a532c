"""The names of fields that are known, in the order in which they are preferred."""

from __future__ import annotations


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


# Canonical field → its names: those of this program's own layout first, then those of offices and vendors. Case,
# width, blanks and punctuation do not matter; a mark of language (below) may stand before or after.
NAMES: dict[str, tuple[str, ...]] = {
    "publication_number": _names(
        """
        publication_number, 公开（公告）号, 公开公告号, 公开号, 申请公布号, 授权公告号, 公告号, 公布号,
        公布公告号, 授权公开号, 专利公开号, 专利公告号, 公开公告编号, 文献号, 专利文献号, 公開番号, 公報番号,
        文献番号, 公開號, 公告號, 公開公告號, 공개번호, 공보번호, patent_number, publication_no, pub_number,
        pub_no, pub_num, publn_nr, publn_no, publication_id, publication_num, patent_no, patent_num, patent_id,
        patent_nr, document_number, document_no, doc_number, doc_no, doc_id, publication_doc_number,
        publication_document_number, ucid, pn, patent_publication_number, publication/patent number, 公开专利号,
        专利公开（公告）号, publication_numbers, display_key, representative_publication_number, 등록번호
        """
    ),
    "title": _names(
        """
        title, title_text, invention_title, titles, 名称, 专利名称, 标题, 发明名称, patent_title, title_of_invention,
        发明创造名称, 专利标题, 专利题名, 题名, 题目, 实用新型名称, 發明名稱, 專利名稱, 標題, 名稱, 発明の名称,
        考案の名称, タイトル, 발명의명칭, 명칭, ti, ttl, titre, titel, titulo, document_title, title_localized,
        invention_name, patent_name
        """
    ),
    "abstract": _names(
        """
        abstract, abstract_text, 摘要, 摘要文本, 专利摘要, 摘要内容, 摘要信息, 文摘, 发明摘要, 说明书摘要,
        内容摘要, 技术摘要, 摘要文字, 要約, 抄録, 要旨, 초록, 요약, abst, ab, patent_abstract,
        abstract_localized, abstracts, abstract_paragraph, abstract_content, abrege, zusammenfassung, resumen,
        summary, abstract_of_the_disclosure, invention_abstract, 專利摘要, abs
        """
    ),
    "classifications": _names(
        """
        classifications, classification, 主分类号, IPC主分类号, IPC主分类, 国际主分类号, 国际主分类, 主分类,
        main_ipc, ipc_main, ipc_codes, cpc_codes, ipc_code, cpc_code, ipc, cpc, ipcr, 分类号, IPC分类号,
        IPC分类, 国际专利分类号, 国际专利分类, 国际分类号, 国际分类, 专利分类号, 副分类号, 次分类号,
        international_classification, international_classifications, classification_codes, class_codes,
        classification_code, patent_classification, patent_classifications, main_classification,
        further_classification, further_classifications, ic, icm, ics, 國際專利分類, 國際分類號, 分類號,
        国際特許分類, 국제특허분류, labels, label, codes, code, class_code, symbols, symbol
        """
    ),
    "claims": _names(
        """
        claims, claims_text, claim_text, 权利要求, 权利要求书, 權利要求, 請求項, 請求の範囲, 特許請求の範囲,
        청구항, 청구범위, claims_localized, all_claims, full_claims, 独立权利要求, independent_claims, 主权项,
        主权利要求, 首项权利要求, 首权, 第一权利要求, 第一项权利要求, first_claim, claim, 申请专利范围,
        申請專利範圍, exemplary_claim
        """
    ),
    "description": _names(
        """
        description, description_text, full_description, 说明书, 说明书全文, 說明書, 明細書, 詳細な説明,
        detailed_description, description_localized, specification, 발명의 설명, full_text, fulltext, 全文,
        说明书内容, 说明书文本, 具体实施方式
        """
    ),
    "citations": _names(
        """
        citations, cited_patents, backward_citations, patent_citations, cited_documents, citation, cites,
        references, refs, references_cited, 引证专利, 引用专利, 引证文献, 引用文献, 专利引证, 引证,
        引用专利号, 引证专利号, prior_art, prior_art_documents, 引用文献番号
        """
    ),
    "family_id": _names(
        """
        family_id, docdb_family_id, simple_family_id, family_number, family_no, inpadoc_family_id, 同族编号,
        简单同族编号, 同族号, 同族id, 简单同族id, 扩展同族编号, patent_family_id
        """
    ),
    "publication_date": _names(
        """
        publication_date, 公开（公告）日, 公开公告日, 公开日, 公告日, 授权公告日, 申请公布日, 公布日, 公开日期,
        公告日期, 公开公告日期, pub_date, publn_date, date_published, date_of_publication, published_date,
        publish_date, 公開日, 発行日, 공개일자, 공고일자, isd, publication_dt, pd, 公布公告日
        """
    ),
    "applicants": _names(
        """
        applicants, applicant, 申请（专利权）人, 申请人, 申请专利权人, 专利权人, applicant_name, assignees,
        applicant_names, assignee, assignee_name, original_assignee, 当前权利人, 权利人, 专利申请人,
        current_assignee, patentee, proprietor, 出願人, 申請人, 專利權人, 출원인, 申请机构, pa
        """
    ),
    "application_number": _names(
        """
        application_number, 申请号, 专利申请号, 专利号, 申请专利号, 申请编号, application_no, app_no, apno,
        app_number, appl_no, appln_nr, application_id, filing_number, 出願番号, 申請號, 專利號, 출원번호,
        application_num, apn, an
        """
    ),
}
# Marks of language at either end of a name, and what they say; nothing: whose text it is does not tell its language.
LANGUAGES: dict[str, str] = {
    mark: language
    for language, marks in {
        "zh": "zh cn chs zhhans zhcn 中文 中 中文翻译 中文译文 简体中文 译简体中文 中文简体 简体 汉语 chinese",
        "zh-hant": "cht zhhant zhtw 繁体中文 译繁体中文 繁體中文",
        "en": "en eng english 英文 英 译英文 英语 enus 영문",
        "ja": "ja jp japanese 日文 日语",
        "ko": "ko kr korean 韩文 한글 국문",
        "de": "de german 德文",
        "fr": "fr french 法文",
        "": "原文 小语种原文 original dwpi 译 translated 翻译 机翻 机器翻译 当前 current",
    }.items()
    for mark in marks.split()
}
# Parts of names of code fields that are in no list above, and of names that are about something else.
ABOUT_CODES = _names(
    """
    ipc, cpc, 分类号, 国际分类, 國際分類, classification
    """
)
NO_CODES = _names(
    """
    description, 说明, 含义, 释义, 描述, 解释, title, 名称, name, count, 数量, date, 日期, version, 版本, uspc,
    usclass, locarno, 洛迦诺, 外观, 行业, 国民经济, 产业, national, 欧洲, ecla, fterm, nice, 引证, 被引, 引用,
    cited, citing, 同族, family, 相似, similar, value, level, status, source
    """
)
# What inspect points at: the field that an unknown name looks like, by a part of it.
REMINDS_OF: tuple[tuple[str, str], ...] = tuple(
    (part, canonical)
    for canonical, parts in {
        "abstract": "摘要 abstract 文摘 summary 要約",
        "claims": "权利要求 claim 請求",
        "description": "说明书 description",
        "publication_number": "公开号 公告号 文献号 专利号 专利编号 patentn pubn publicationn docn",
        "title": "名称 标题 题名 title 名稱 発明",
        "classifications": "分类 ipc cpc class",
        "applicants": "申请人 专利权人 assignee",
        "publication_date": "公开日 公告日 pubdate",
        "family_id": "同族 family",
        "citations": "引证 引用 cited",
    }.items()
    for part in parts.split()
)
REMINDS_OF_NOTHING = _names(
    """
    url, link, 链接, 图, image, count, 数量, length, 字数, 公司名称, 机构名称
    """
)
